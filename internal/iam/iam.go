// Package iam is the directory of identities: accounts with their users,
// groups, roles, policies and credentials.
//
// It has three parts in a call's path. Listeners prove who calls with its
// credentials (Credential, Login). call.Path asks it whether the caller may
// (Authorize). And it is a service itself, AWS IAM's own API (Service).
//
// What is kept lies in the store, one JSON value an entity, and as an
// immutable snapshot in memory: a reader takes the snapshot of the moment, a
// writer publishes the next one when its writes are durable. Secrets lie in
// the store sealed only.
package iam

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"spoor/internal/kv"
	"spoor/internal/seal"
)

// Config is what a Directory needs.
type Config struct {
	Store  *kv.Store
	Sealer *seal.Sealer
	Now    func() time.Time // nil means time.Now
	Log    *slog.Logger
}

// Directory holds all accounts' identities. It is safe for concurrent use.
type Directory struct {
	store  *kv.Store
	sealer *seal.Sealer
	now    func() time.Time
	log    *slog.Logger

	// mu is held by a writer from its first look at the state until its writes
	// are durable, so that writers follow one another. Readers do not take it.
	mu      sync.Mutex
	current atomic.Pointer[snapshot]

	// iterations is the cost of a console password's hash.
	iterations int

	managed *managedPolicies
	docs    *documents
	used    usage
}

// snapshot is the state of one moment. Nothing in it is ever changed.
type snapshot struct {
	version  uint64
	accounts map[string]*account
}

// Open reads the directory from the store.
func Open(c Config) (*Directory, error) {
	if c.Store == nil || c.Sealer == nil || c.Log == nil {
		return nil, errors.New("iam: a directory needs a store, a sealer and a logger")
	}
	d := &Directory{store: c.Store, sealer: c.Sealer, now: c.Now, log: c.Log, docs: newDocuments(), iterations: passwordIterations}
	if d.now == nil {
		d.now = time.Now
	}
	managed, err := loadManaged()
	if err != nil {
		return nil, fmt.Errorf("reading the AWS-managed policies: %w", err)
	}
	d.managed = managed
	snap, err := d.load()
	if err != nil {
		return nil, fmt.Errorf("reading the directory of identities: %w", err)
	}
	d.current.Store(snap)
	return d, nil
}

// PolicyVersion changes whenever a decision of Authorize may have changed for a
// reason other than time: whoever caches decisions drops them then.
func (d *Directory) PolicyVersion() uint64 { return d.current.Load().version }

// HasAccount reports whether the account exists.
func (d *Directory) HasAccount(id string) bool { return d.account(id) != nil }

// Accounts lists the ids of all accounts, in order.
func (d *Directory) Accounts() []string { return sortedKeys(d.current.Load().accounts) }

// account is the account's state of this moment, or nil.
func (d *Directory) account(id string) *account { return d.current.Load().accounts[id] }
