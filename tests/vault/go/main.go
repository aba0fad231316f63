// Vault's own server in memory, and of its plugins what the tests ask: `server -dev` as the command `vault` has it.
//
// That command itself would bring every database and cloud, and takes several times as long to build.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"

	"github.com/hashicorp/go-hclog"
	jwt "github.com/hashicorp/vault-plugin-auth-jwt"
	kv "github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/builtin/logical/pki"
	"github.com/hashicorp/vault/builtin/logical/transit"
	"github.com/hashicorp/vault/helper/namespace"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/internalshared/configutil"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical/inmem"
	"github.com/hashicorp/vault/vault"
	"github.com/hashicorp/vault/version"
)

var (
	engines = map[string]logical.Factory{"kv": kv.Factory, "pki": pki.Factory, "transit": transit.Factory}
	logins  = map[string]logical.Factory{"jwt": jwt.Factory}
)

// known is the catalogue of plugins: what is in this program.
type known struct{}

func (known) Contains(name string, kind consts.PluginType) bool {
	return slices.Contains(known{}.Keys(kind), name)
}

func (known) Get(string, consts.PluginType) (func() (interface{}, error), bool) { return nil, false }

func (known) Keys(kind consts.PluginType) (names []string) {
	from := map[consts.PluginType]map[string]logical.Factory{
		consts.PluginTypeSecrets: engines, consts.PluginTypeCredential: logins,
	}
	for name := range from[kind] {
		names = append(names, name)
	}
	return names
}

func (known) DeprecationStatus(name string, kind consts.PluginType) (consts.DeprecationStatus, bool) {
	return consts.Supported, known{}.Contains(name, kind)
}

func (known) IsBuiltinEntPlugin(string, consts.PluginType) bool { return false }

func serve(root, address string) error {
	logger := hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, Output: os.Stderr})
	physical, err := inmem.NewInmem(nil, logger)
	if err != nil {
		return err
	}
	core, err := vault.NewCore(&vault.CoreConfig{
		Physical: physical, Logger: logger, DisableMlock: true, BuiltinRegistry: known{},
		LogicalBackends: engines, CredentialBackends: logins,
	})
	if err != nil {
		return err
	}
	if err := open(core, root); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	return http.Serve(listener, vaulthttp.Handler.Handler(&vault.HandlerProperties{
		Core: core, ListenerConfig: &configutil.Listener{},
	}))
}

// open initialises and unseals the server, and makes the root token that was asked for.
func open(core *vault.Core, root string) error {
	ctx := namespace.RootContext(context.Background())
	seal := &vault.SealConfig{SecretShares: 1, SecretThreshold: 1, StoredShares: 1}
	made, err := core.Initialize(ctx, &vault.InitParams{BarrierConfig: seal})
	if err != nil {
		return err
	}
	if unsealed, err := core.Unseal(made.SecretShares[0]); err != nil || !unsealed {
		return fmt.Errorf("not unsealed: %w", err)
	}
	_, err = core.HandleRequest(ctx, &logical.Request{
		ID: "root", Operation: logical.UpdateOperation, ClientToken: made.RootToken, Path: "auth/token/create",
		Data: map[string]interface{}{
			"id": root, "policies": []string{"root"}, "no_parent": true, "no_default_policy": true,
		},
	})
	return err
}

// asks says whom the command `vault` would ask, and as whom, by the library in which it reads its environment.
func asks() error {
	config := api.DefaultConfig()
	if config.Error != nil {
		return config.Error
	}
	client, err := api.NewClient(config)
	if err != nil {
		return err
	}
	believes := config.HttpClient.Transport.(*http.Transport).TLSClientConfig.InsecureSkipVerify
	fmt.Println(client.Address(), client.Token(), client.Namespace(), believes)
	return nil
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "version" {
		fmt.Println("Vault v" + version.Version)
		return
	}
	if len(os.Args) > 1 && os.Args[1] == "asks" {
		if err := asks(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	flags := flag.NewFlagSet("server", flag.ExitOnError)
	flags.Bool("dev", false, "")
	flags.Bool("dev-no-store-token", false, "")
	root := flags.String("dev-root-token-id", "", "")
	address := flags.String("dev-listen-address", "127.0.0.1:8200", "")
	_ = flags.Parse(os.Args[min(2, len(os.Args)):])
	if err := serve(*root, *address); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
