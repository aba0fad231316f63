package zzglob

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// tree makes files and changes into their folder, as the agent is in its checkout.
func tree(t *testing.T, files ...string) {
	t.Helper()
	t.Chdir(t.TempDir())
	for _, file := range files {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func parse(t *testing.T, pattern string, opts ...ParseOption) *Pattern {
	t.Helper()
	parsed, err := Parse(pattern, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func globbed(t *testing.T, pattern *Pattern, opts ...GlobOption) []string {
	t.Helper()
	var found []string
	walk := func(path string, _ fs.DirEntry, err error) error {
		if err == nil {
			found = append(found, path)
		}
		return err
	}
	if err := MultiGlob(context.Background(), []*Pattern{pattern}, walk, opts...); err != nil {
		t.Fatal(err)
	}
	slices.Sort(found)
	return found
}

func check(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
}

func TestTwoStarsReachEveryDepth(t *testing.T) {
	tree(t, "out/a.bin", "out/deep/er/b.bin", "out/c.txt", "d.bin")
	check(t, globbed(t, parse(t, "out/**/*.bin")), "out/a.bin", "out/deep/er/b.bin")
	check(t, globbed(t, parse(t, "**/{a,d}.bin")), "d.bin", "out/a.bin")
}

func TestAPathWithoutMetaCharactersIsItself(t *testing.T) {
	tree(t, "out/a.bin")
	check(t, globbed(t, parse(t, "out/a.bin")), "out/a.bin")
	check(t, globbed(t, parse(t, "./out/a.bin")), "out/a.bin")
}

func TestAnEscapedStarIsAStar(t *testing.T) {
	tree(t, "a*b", "axb")
	check(t, globbed(t, parse(t, `a\*b`)), "a*b")
}

func TestAnAbsolutePatternGivesAbsolutePaths(t *testing.T) {
	tree(t, "a.bin")
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	check(t, globbed(t, parse(t, escape(here)+"/*.bin")), here+"/a.bin")
}

func TestLinkedDirectoriesAreEnteredUnlessAskedNotTo(t *testing.T) {
	tree(t, "real/a.bin")
	if err := os.Symlink("real", "link"); err != nil {
		t.Fatal(err)
	}
	check(t, globbed(t, parse(t, "**/*.bin")), "link/a.bin", "real/a.bin")
	check(t, globbed(t, parse(t, "**/*.bin"), TraverseSymlinks(false)), "real/a.bin")
}

func TestAMissingStartIsReportedToTheCallback(t *testing.T) {
	tree(t)
	var seen error
	walk := func(_ string, _ fs.DirEntry, err error) error {
		seen = err
		return nil
	}
	if err := parse(t, "gone/*.bin").Glob(walk); err != nil || !errors.Is(seen, fs.ErrNotExist) {
		t.Errorf("returned %v, the callback saw %v", err, seen)
	}
}

func TestTheStartIsReportedOnlyWhenAsked(t *testing.T) {
	tree(t, "out/a.bin")
	check(t, globbed(t, parse(t, "out/*.bin"), WalkIntermediateDirs(true)), "out", "out/a.bin")
	check(t, globbed(t, parse(t, "out/*.bin")), "out/a.bin")
}

func TestACallbacksErrorEndsTheGlob(t *testing.T) {
	tree(t, "a", "b")
	stop := errors.New("stop")
	calls := 0
	err := parse(t, "*").Glob(func(string, fs.DirEntry, error) error { calls++; return stop })
	if !errors.Is(err, stop) || calls != 1 {
		t.Errorf("returned %v after %d calls", err, calls)
	}
}

func TestATildeIsHomeUnlessAskedNotTo(t *testing.T) {
	tree(t, "~/a.bin", "home/a.bin")
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("HOME", here+"/home")
	check(t, globbed(t, parse(t, "~/*.bin")), here+"/home/a.bin")
	check(t, globbed(t, parse(t, "~/*.bin", ExpandTilde(false))), "~/a.bin")
}

func TestMatchWantsTheWholePath(t *testing.T) {
	pattern := parse(t, "src/**/*.rs")
	if !pattern.Match("src/a/b.rs") || !pattern.Match("src/b.rs") || pattern.Match("x/src/b.rs") {
		t.Error("matches other than the whole path")
	}
}

func TestAnUnclosedClassIsNoPattern(t *testing.T) {
	if _, err := Parse("a[b"); err == nil {
		t.Error("parsed")
	}
}

func TestAnEndedContextEndsTheGlob(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	walk := func(string, fs.DirEntry, error) error { return nil }
	if err := MultiGlob(ctx, []*Pattern{parse(t, "*")}, walk); !errors.Is(err, context.Canceled) {
		t.Errorf("returned %v", err)
	}
}
