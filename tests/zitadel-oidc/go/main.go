// The OpenID provider of github.com/zitadel/oidc with its own example's storage, for tests/it/real_zitadel.rs.
//
// Reads `{jobs, secret}` as JSON from its standard input: the issuer of jobs' tokens, and the secret of the client
// `svc`. Writes its own issuer, serves until standard input ends. The library leaves it to whoever embeds it to
// believe somebody else's token: its own client library verifies the job's here.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/client/rp"
	"github.com/zitadel/oidc/v3/pkg/oidc"
)

// user is an administrator of the example, and who every job is.
const user = "id1"

type store struct {
	*storage.Storage
	jobs *rp.IDTokenVerifier
}

func (s store) VerifyExchangeSubjectToken(ctx context.Context, token string, _ oidc.TokenType) (string, string, map[string]any, error) {
	claims, err := rp.VerifyIDToken[*oidc.IDTokenClaims](ctx, token, s.jobs)
	if err != nil {
		return "", "", nil, err
	}
	return token, user, claims.Claims, nil
}

func (s store) VerifyExchangeActorToken(ctx context.Context, token string, kind oidc.TokenType) (string, string, map[string]any, error) {
	return s.VerifyExchangeSubjectToken(ctx, token, kind)
}

func main() {
	var asked struct{ Jobs, Secret string }
	input := bufio.NewReader(os.Stdin)
	line, err := input.ReadBytes('\n')
	if err != nil {
		log.Fatal(err)
	}
	if err := json.Unmarshal(line, &asked); err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	issuer := "http://" + listener.Addr().String()
	storage.RegisterClients(storage.WebClient("svc", asked.Secret))
	keys := rp.NewRemoteKeySet(http.DefaultClient, asked.Jobs+"/.well-known/jwks")
	backed := store{storage.NewStorage(storage.NewUserStore(issuer)), rp.NewIDTokenVerifier(asked.Jobs, issuer, keys)}
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	slog.SetDefault(logger)
	handler := exampleop.SetupServer(issuer, backed, logger, true)
	go func() { log.Fatal(http.Serve(listener, handler)) }()
	fmt.Println(issuer)
	_, _ = input.ReadBytes(0)
}
