// Package zzglob stands in for the module of that path when the tests' Buildkite agent is built.
//
// The agent globs with drjosh.dev/zzglob, which not every Go module proxy serves. This is our own adapter
// of the few calls the agent makes onto github.com/bmatcuk/doublestar. It serves artifact globs, `if_changed`
// patterns and cache key checksums and nothing else: what it decides about an unusual pattern is doublestar's
// opinion and no evidence about a released agent. Hooks, plugins, the Job API and OIDC never reach it.
package zzglob

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// Pattern is a parsed glob.
type Pattern struct{ text string }

// ParseOption changes how Parse reads a pattern.
type ParseOption func(*parsing)

type parsing struct{ expandTilde bool }

// ExpandTilde says whether a leading `~` is the home directory (the default) or a file's name.
func ExpandTilde(enable bool) ParseOption {
	return func(p *parsing) { p.expandTilde = enable }
}

// Parse reads a pattern with `/` as the separator: `*`, `?`, `**`, `[class]`, `{a,b}` and `\` escapes.
func Parse(pattern string, opts ...ParseOption) (*Pattern, error) {
	p := parsing{expandTilde: true}
	for _, opt := range opts {
		opt(&p)
	}
	text := filepath.ToSlash(pattern)
	if p.expandTilde && (text == "~" || strings.HasPrefix(text, "~/")) {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, fmt.Errorf("expanding `~`: %w", err)
		}
		text = escape(filepath.ToSlash(home)) + text[1:]
	}
	if !doublestar.ValidatePattern(text) {
		return nil, fmt.Errorf("parsing `%s`: %w", pattern, doublestar.ErrBadPattern)
	}
	return &Pattern{text: text}, nil
}

// Match says whether the whole path, with `/` as its separator, fits the pattern.
func (p *Pattern) Match(path string) bool {
	return doublestar.MatchUnvalidated(p.text, path)
}

// GlobOption changes how a glob walks the disk.
type GlobOption func(*walking)

type walking struct{ follow, intermediate bool }

// TraverseSymlinks says whether links to directories are descended into (the default).
func TraverseSymlinks(enable bool) GlobOption {
	return func(w *walking) { w.follow = enable }
}

// WalkIntermediateDirs says whether the callback also hears of the directory the walk starts in, and of
// directories that cannot be read.
func WalkIntermediateDirs(enable bool) GlobOption {
	return func(w *walking) { w.intermediate = enable }
}

// Glob calls walk with everything on disk that fits the pattern.
// A starting point that cannot be looked at is reported to walk, which decides what that means.
func (p *Pattern) Glob(walk fs.WalkDirFunc, opts ...GlobOption) error {
	w := walking{follow: true}
	for _, opt := range opts {
		opt(&w)
	}
	base, rest := doublestar.SplitPattern(p.text)
	root := filepath.FromSlash(base)
	if !strings.ContainsAny(rest, `*?[{\`) {
		root = filepath.Join(root, rest)
		rest = ""
	}
	info, err := os.Lstat(root)
	if err != nil {
		return quiet(walk(root, nil, err))
	}
	entry := fs.FileInfoToDirEntry(info)
	if rest == "" {
		return quiet(walk(root, entry, nil))
	}
	if w.intermediate {
		if err := walk(root, entry, nil); err != nil {
			return quiet(err)
		}
	}
	found := func(path string, d fs.DirEntry) error {
		return walk(filepath.Join(root, filepath.FromSlash(path)), d, nil)
	}
	return quiet(doublestar.GlobWalk(os.DirFS(root), rest, found, w.doublestar()...))
}

// MultiGlob globs every pattern, one after the other, until the context ends.
func MultiGlob(ctx context.Context, patterns []*Pattern, walk fs.WalkDirFunc, opts ...GlobOption) error {
	for _, p := range patterns {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := p.Glob(walk, opts...); err != nil {
			return err
		}
	}
	return nil
}

func (w walking) doublestar() []doublestar.GlobOption {
	var opts []doublestar.GlobOption
	if !w.follow {
		opts = append(opts, doublestar.WithNoFollow())
	}
	if w.intermediate {
		opts = append(opts, doublestar.WithFailOnIOErrors())
	}
	return opts
}

// quiet drops the two errors by which a callback ends a walk early.
func quiet(err error) error {
	if err == fs.SkipDir || err == fs.SkipAll {
		return nil
	}
	return err
}

// escape makes a path that may hold pattern characters match only itself.
func escape(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `{`, `\{`).Replace(path)
}
