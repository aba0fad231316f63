// Package plugin has the agent's own reading and validation of plugins judge our plugin.yml.
package plugin

import (
	"context"
	"os"
	"testing"

	"github.com/buildkite/agent/v3/agent/plugin"
	"gopkg.in/yaml.v3"
)

const root = "../../../.."

func TestPluginYml(t *testing.T) {
	definition, err := plugin.LoadDefinitionFromDir(nil, root)
	if err != nil {
		t.Fatal(err)
	}
	if definition.Configuration == nil || len(definition.Requirements) != 1 {
		t.Fatalf("read as %+v", definition)
	}
	// What this machine has installed is not the question here.
	definition.Requirements = nil

	text, err := os.ReadFile(root + "/tests/scenarios/plugin/blocks.yml")
	if err != nil {
		t.Fatal(err)
	}
	var blocks struct{ Accepted, Refused []map[string]any }
	if err := yaml.Unmarshal(text, &blocks); err != nil {
		t.Fatal(err)
	}
	if len(blocks.Accepted) == 0 || len(blocks.Refused) == 0 {
		t.Fatal("no blocks were found")
	}
	judge := func(block map[string]any) plugin.ValidateResult {
		return plugin.Validator{}.Validate(context.Background(), definition, block)
	}
	for _, block := range blocks.Accepted {
		if result := judge(block); !result.Valid() {
			t.Errorf("%v: %v", block, result.Error())
		}
	}
	for _, block := range blocks.Refused {
		if judge(block).Valid() {
			t.Errorf("%v is accepted", block)
		}
	}
}
