package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Names of the files in a data directory that other programs may read.
const (
	credentialsFile = "credentials.json" // the first start's credentials, mode 0600
	endpointsFile   = "endpoints.json"   // where the running server listens
	tlsDir          = "tls"
)

// Profile is a set of credentials made at the first start.
type Profile struct {
	AccessKeyID     string `json:"access_key_id"`
	SecretAccessKey string `json:"secret_access_key"`
	// CQLUser and CQLPassword are a service-specific credential for CQL. Root
	// has none on AWS and none here; its keys log in by SigV4.
	CQLUser     string `json:"cql_user,omitempty"`
	CQLPassword string `json:"cql_password,omitempty"`
}

// Credentials is the content of credentials.json.
type Credentials struct {
	Account  string             `json:"account"`
	Profiles map[string]Profile `json:"profiles"` // "root", "admin"
	// Accounts are the profiles of the accounts made later, by account.
	Accounts map[string]map[string]Profile `json:"accounts,omitempty"`
}

// Of are an account's profiles.
func (c *Credentials) Of(account string) (map[string]Profile, bool) {
	if account == c.Account {
		return c.Profiles, true
	}
	p, ok := c.Accounts[account]
	return p, ok
}

// set keeps an account's profiles. The first account of a data directory stays
// where old programs look for it.
func (c *Credentials) set(account string, p map[string]Profile) {
	if c.Account == "" || c.Account == account {
		c.Account, c.Profiles = account, p
		return
	}
	if c.Accounts == nil {
		c.Accounts = map[string]map[string]Profile{}
	}
	c.Accounts[account] = p
}

// Endpoints is the content of endpoints.json.
type Endpoints struct {
	HTTP   string `json:"http"` // host:port
	CQL    string `json:"cql"`
	Region string `json:"region"`
	CAFile string `json:"ca_file"`
	// Account is the account of calls that name none.
	Account string `json:"account"`
	// CQLPlain is the address without TLS, "" when it is off.
	CQLPlain string `json:"cql_plain,omitempty"`
	// Debug is the address of the profiles, "" when they are off.
	Debug string `json:"debug,omitempty"`
}

// ReadEnvironment reads what `spoor env` prints from a data directory.
func ReadEnvironment(dir string) (Credentials, Endpoints, error) {
	var c Credentials
	var e Endpoints
	if err := readJSON(filepath.Join(dir, credentialsFile), &c); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return c, e, fmt.Errorf("%s is not the data directory of a server that has been started; run: spoor serve --data %s", dir, dir)
		}
		return c, e, err
	}
	if err := readJSON(filepath.Join(dir, endpointsFile), &e); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return c, e, fmt.Errorf("no server runs on %s; start it: spoor serve --data %s", dir, dir)
		}
		return c, e, err
	}
	return c, e, nil
}

func readJSON(name string, v any) error {
	b, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	return nil
}

func writeJSON(name string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return writeFile(name, append(b, '\n'))
}

// checkDir refuses a directory that holds something else than a server's data,
// so that a mistyped --data does not start an empty trail beside the real one.
func checkDir(dir string) (fresh bool, err error) {
	names, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading the data directory: %w", err)
	}
	if len(names) == 0 {
		return true, nil
	}
	if _, err := os.Stat(filepath.Join(dir, "store")); err != nil {
		return false, fmt.Errorf("%s is not empty and holds no store: name the data directory of a server, or an empty one", dir)
	}
	return false, nil
}
