package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"spoor/internal/server"
)

type accountCmd struct {
	Add accountAddCmd `cmd:"" help:"Make an account in a running server."`
}

type accountAddCmd struct {
	ID    string `arg:"" help:"Account id, 12 digits."`
	Alias string `help:"Account alias."`
	Data  string `help:"Data directory of the server." default:"./data" env:"SPOOR_DATA" type:"path"`
}

func (accountAddCmd) Help() string {
	return "The server must run: the account is made by a call that leaves a record. Before a start, --accounts does it.\n" +
		"The new account's root and admin credentials are written to credentials.json in the data directory.\n\nExample:\n" +
		"  spoor account add 444455556666 --alias team-red\n  eval \"$(spoor env --account 444455556666)\""
}

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 64 << 10

// Run asks the server, as the admin of its default account.
func (a accountAddCmd) Run(ctx context.Context, std streams) error {
	creds, ends, err := server.ReadEnvironment(a.Data)
	if err != nil {
		return err
	}
	p, err := profileOf(creds, ends, "", "admin")
	if err != nil {
		return err
	}
	hint := "start it, or start it with --accounts " + a.ID
	if err := ask(ctx, ends, p, "/_spoor/accounts", "organizations", server.NewAccount{ID: a.ID, Alias: a.Alias}, nil, hint); err != nil {
		return err
	}
	fmt.Fprintf(std.out, "Account %s is there. Its credentials are in %s/credentials.json:\n\n  eval \"$(%s env --data %s --account %s)\"\n", a.ID, a.Data, os.Args[0], a.Data, a.ID)
	return nil
}

// ask makes a signed request of the server's own and reads its answer into out.
func ask(ctx context.Context, ends server.Endpoints, p server.Profile, path, service string, in, out any, hint string) error {
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("encoding the request: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+ends.HTTP+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	sum := sha256.Sum256(body)
	err = v4.NewSigner().SignHTTP(ctx, aws.Credentials{AccessKeyID: p.AccessKeyID, SecretAccessKey: p.SecretAccessKey}, req, hex.EncodeToString(sum[:]), service, ends.Region, time.Now())
	if err != nil {
		return fmt.Errorf("signing: %w", err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("the server at %s does not answer; %s: %w", ends.HTTP, hint, err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		var e struct {
			Type    string `json:"__type"`
			Message string `json:"message"`
		}
		if err := json.Unmarshal(raw, &e); err != nil {
			return fmt.Errorf("the server answers %s", res.Status)
		}
		return fmt.Errorf("%s: %s", e.Type, e.Message)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	return nil
}
