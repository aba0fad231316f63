module buildkite-dataflow/tests/conditions

go 1.24.0

require (
	github.com/buildkite/conditional v1.0.0
	gopkg.in/yaml.v3 v3.0.1
)

require github.com/dlclark/regexp2 v1.12.0 // indirect
