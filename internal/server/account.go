package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"

	"spoor/internal/aws"
	"spoor/internal/awshttp"
	"spoor/internal/call"
	"spoor/internal/iam"
	"spoor/internal/kv"
	"spoor/internal/record"
	"spoor/internal/seal"
)

// accountsPath is where `spoor account add` asks a running server. The store is
// one process's, so there is no other way in while it runs.
const accountsPath = "/_spoor/accounts"

// accountsService is the signing name of accountsPath: making an account is
// what AWS Organizations does.
const accountsService = "organizations"

// maxAccountRequest bounds the request's body, in bytes.
const maxAccountRequest = 4 << 10

// NewAccount is the body of a request to make an account.
type NewAccount struct {
	ID    string `json:"accountId"`
	Alias string `json:"accountAlias,omitempty"`
}

// accountStep is the call that makes an account. Only principals of the default
// account may; what makes accounts must not be what one of them can give away.
type accountStep struct {
	server *Server
	in     NewAccount
}

var _ call.Step = (*accountStep)(nil)

func (a *accountStep) Permissions(c *call.Call, dst []call.Permission) ([]call.Permission, error) {
	if c.AccountID != a.server.cfg.Account {
		return dst, aws.NewError(aws.Denied, "AccessDeniedException", "You don't have permissions to access this resource: accounts are made by principals of account "+a.server.cfg.Account+".")
	}
	return append(dst, call.Permission{Action: "organizations:CreateAccount", Resource: "*"}), nil
}

func (a *accountStep) Handle(_ context.Context, c *call.Call) error {
	return a.server.directory.CreateAccount(c, a.in.ID, a.in.Alias, a.server.writeCredentials)
}
func (a *accountStep) Events() int                  { return 1 }
func (a *accountStep) Category(int) record.Category { return record.Management }
func (a *accountStep) External() bool               { return false }
func (a *accountStep) Describe(_ *call.Call, _ int, _ error, r *record.Record) {
	r.EventSource, r.EventName = "organizations.amazonaws.com", "CreateAccount"
	if b, err := json.Marshal(a.in); err == nil { // two texts always encode
		r.RequestParameters = append(r.RequestParameters[:0], b...)
	}
}

// createAccount answers a request to make an account. The new credentials are
// in credentials.json and nowhere else: they do not cross the network.
func (s *Server) createAccount(w http.ResponseWriter, r *http.Request) {
	in, err := s.makeAccount(r)
	body := any(in)
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		e := aws.AsError(err)
		if e.Kind == aws.Internal || e.Kind == aws.Unavailable {
			s.log.Error("making an account failed", "err", err)
		}
		w.WriteHeader(e.HTTPStatus())
		body = map[string]string{"__type": e.Code, "message": e.Message}
	}
	_ = json.NewEncoder(w).Encode(body) // a client that is gone needs no answer
}

func (s *Server) makeAccount(r *http.Request) (NewAccount, error) {
	var in NewAccount
	raw, err := io.ReadAll(io.LimitReader(r.Body, maxAccountRequest+1))
	if err != nil || len(raw) > maxAccountRequest {
		return in, aws.NewError(aws.Invalid, "ValidationException", "The request's body cannot be read.")
	}
	c := awshttp.NewCall(r, s.path.Now(), aws.GlobalRegion)
	// As for every other call, a failure of a known credential is recorded.
	reject := func(caller *aws.Caller, err error) error {
		c.Caller, c.AccountID = caller, caller.AccountID
		return s.path.Reject(c, err, func(r *record.Record) { r.EventSource, r.EventName = "organizations.amazonaws.com", "CreateAccount" })
	}
	id, err := s.auth.Authenticate(r, raw, accountsService, false)
	var ae *awshttp.AuthError
	switch {
	case errors.As(err, &ae) && ae.Claimed != nil:
		return in, reject(ae.Claimed, err)
	case err != nil:
		return in, err
	}
	if err := json.Unmarshal(raw, &in); err != nil {
		return in, reject(id.Caller, aws.NewError(aws.Invalid, "ValidationException", "The request's body is not JSON of an account."))
	}
	c.Caller, c.AccountID = id.Caller, id.Caller.AccountID
	return in, s.path.Run(r.Context(), c, &accountStep{s, in})
}

func profiles(b iam.Bootstrap) map[string]Profile {
	return map[string]Profile{
		"root":  {AccessKeyID: b.RootAccessKeyID, SecretAccessKey: b.RootSecret},
		"admin": {AccessKeyID: b.AdminKeyID, SecretAccessKey: b.AdminSecret, CQLUser: b.CQLUser, CQLPassword: b.CQLPassword},
	}
}

// writeCredentials adds an account's first credentials to credentials.json.
func (s *Server) writeCredentials(b iam.Bootstrap) error {
	s.credentials.Lock()
	defer s.credentials.Unlock()
	name := filepath.Join(s.cfg.Data, credentialsFile)
	var c Credentials
	if err := readJSON(name, &c); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	c.set(b.Account, profiles(b))
	return writeJSON(name, c)
}

// keepCredentials writes an account's first credentials to their file before
// they are in the store: a crash in between leaves a file whose credentials do
// not exist, and the next start replaces them.
func (s *Server) keepCredentials(b iam.Bootstrap, batch *kv.Batch) error {
	if err := s.writeCredentials(b); err != nil {
		return errors.Join(err, batch.Close())
	}
	return s.journal.Commit(batch)
}

// DefaultMasterKey is the file of the master key inside a data directory.
func DefaultMasterKey(data string) string { return filepath.Join(data, "keys", "master.key") }

// CheckData fails when dir is not a server's data directory.
func CheckData(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "store")); err != nil {
		return fmt.Errorf("%s is not the data directory of a server that has been started", dir)
	}
	return nil
}

// openKey loads the master key and says for the greeting which it is.
func (s *Server) openKey() (*seal.Sealer, error) {
	key, where := s.cfg.MasterKey, ""
	if key == "" {
		key, where = DefaultMasterKey(s.cfg.Data), "inside the data directory; spoor key rotate --to FILE moves it"
		if err := os.MkdirAll(filepath.Dir(key), 0o700); err != nil {
			return nil, fmt.Errorf("creating the key directory: %w", err)
		}
	}
	sealer, err := seal.ForStore(s.store, key)
	if err != nil {
		return nil, err
	}
	s.sealer = fmt.Sprintf("%s in %s", sealer.KeyID(), key)
	if n := sealer.Older(); n > 0 {
		s.sealer += fmt.Sprintf(", %d older kept", n)
	}
	if where != "" {
		s.sealer += " (" + where + ")"
	}
	return sealer, nil
}
