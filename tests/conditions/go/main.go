// Reads tests/scenarios/conditions/table.yml and says where Buildkite's own evaluator thinks otherwise.
package main

import (
	"fmt"
	"os"

	"github.com/buildkite/conditional"
	"gopkg.in/yaml.v3"
)

type group struct {
	Build struct {
		Variables map[string]yaml.Node
		Env       map[string]string
	}
	Cases []struct {
		If    string
		Worth string
	}
}

// of reads a variable of the table; a nil pointer, null, where the build has none.
func of[T any](variables map[string]yaml.Node, name string) *T {
	node, known := variables[name]
	if !known {
		return nil
	}
	value := new(T)
	if err := node.Decode(value); err != nil {
		panic(fmt.Sprintf("%s: %v", name, err))
	}
	delete(variables, name)
	return value
}

func list(variables map[string]yaml.Node, name string) []string {
	if values := of[[]string](variables, name); values != nil {
		return *values
	}
	return nil
}

func context(given group) conditional.Context {
	variables := given.Build.Variables
	text := func(name string) *string { return of[string](variables, name) }
	context := conditional.Context{
		EntryPoint: conditional.EntryPointBuildConditionWithStep,
		Build: conditional.Build{
			Branch:  text("build.branch"),
			Tag:     text("build.tag"),
			Message: text("build.message"),
			Source:  text("build.source"),
			Number:  of[int](variables, "build.number"),
			Creator: conditional.Actor{Teams: list(variables, "build.creator.teams")},
			PullRequest: conditional.PullRequest{
				ID:         text("build.pull_request.id"),
				BaseBranch: text("build.pull_request.base_branch"),
				Draft:      of[bool](variables, "build.pull_request.draft"),
				Labels:     list(variables, "build.pull_request.labels"),
			},
		},
		Pipeline: conditional.Pipeline{
			Slug: text("pipeline.slug"), DefaultBranch: text("pipeline.default_branch"),
		},
		Organization: conditional.Organization{Slug: text("organization.slug")},
		Step:         &conditional.Step{},
		BuildEnv:     given.Build.Env,
	}
	for name := range variables {
		panic("nobody here tells Buildkite of " + name)
	}
	return context
}

func worth(condition string, context conditional.Context) string {
	switch holds, err := conditional.Evaluate(condition, context); {
	case err != nil:
		return "refused"
	case holds:
		return "yes"
	default:
		return "no"
	}
}

func main() {
	table, err := os.ReadFile(os.Args[1])
	if err != nil {
		panic(err)
	}
	var groups []group
	if err := yaml.Unmarshal(table, &groups); err != nil {
		panic(err)
	}
	seen, differ := 0, 0
	for _, given := range groups {
		context := context(given)
		for _, one := range given.Cases {
			seen++
			if said := worth(one.If, context); said != one.Worth {
				differ++
				_, err := conditional.Evaluate(one.If, context)
				fmt.Printf("%s: %s (%v), the table says %s\n", one.If, said, err, one.Worth)
			}
		}
	}
	fmt.Printf("%d conditions, %d differences\n", seen, differ)
	if seen == 0 || differ > 0 {
		os.Exit(1)
	}
}
