package main

import (
	"fmt"
	"net"
	"strings"

	"spoor/internal/server"
)

type envCmd struct {
	Data    string `help:"Data directory of the server." default:"./data" env:"SPOOR_DATA" type:"path"`
	Profile string `help:"Whose credentials: admin or root." enum:"admin,root" default:"admin"`
	Account string `help:"Account id. Default: the server's own." placeholder:"ID"`
}

func (envCmd) Help() string {
	return "Example:\n  eval \"$(bin/spoor env)\" && aws sts get-caller-identity"
}

// Run prints one export a line, quoted for a POSIX shell.
func (e envCmd) Run(std streams) error {
	creds, ends, err := server.ReadEnvironment(e.Data)
	if err != nil {
		return err
	}
	p, err := profileOf(creds, ends, e.Account, e.Profile)
	if err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(ends.CQL)
	if err != nil {
		return fmt.Errorf("the server's CQL address is damaged: %w", err)
	}
	export := func(name, value string) {
		fmt.Fprintf(std.out, "export %s='%s'\n", name, strings.ReplaceAll(value, "'", `'\''`))
	}
	export("AWS_ENDPOINT_URL", "http://"+ends.HTTP)
	export("AWS_ACCESS_KEY_ID", p.AccessKeyID)
	export("AWS_SECRET_ACCESS_KEY", p.SecretAccessKey)
	// A session token of another account in this shell would be sent along.
	fmt.Fprintln(std.out, "unset AWS_SESSION_TOKEN AWS_PROFILE")
	export("AWS_REGION", ends.Region)
	export("AWS_DEFAULT_REGION", ends.Region)
	export("SPOOR_ACCOUNT_ID", accountOr(e.Account, creds, ends))
	export("SPOOR_CA_FILE", ends.CAFile)
	export("SPOOR_CQL_HOST", host)
	export("SPOOR_CQL_PORT", port)
	export("SPOOR_CQL_USER", p.CQLUser)
	export("SPOOR_CQL_PASSWORD", p.CQLPassword)
	return nil
}

// accountOr is the account that was asked for, or the server's own.
func accountOr(account string, creds server.Credentials, ends server.Endpoints) string {
	switch {
	case account != "":
		return account
	case ends.Account != "":
		return ends.Account
	}
	return creds.Account
}

// profileOf finds an account's credentials.
func profileOf(creds server.Credentials, ends server.Endpoints, account, profile string) (server.Profile, error) {
	account = accountOr(account, creds, ends)
	all, ok := creds.Of(account)
	if !ok {
		return server.Profile{}, fmt.Errorf("the data directory has no credentials of account %s; run: spoor account add %s", account, account)
	}
	p, ok := all[profile]
	if !ok {
		return p, fmt.Errorf("account %s has no profile %q", account, profile)
	}
	return p, nil
}
