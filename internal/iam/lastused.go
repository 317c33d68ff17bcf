package iam

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"spoor/internal/aws"
	"spoor/internal/kv"
)

// lastUsedStep is how exact a last use is kept. AWS updates its own within
// hours; a minute keeps the note off the way of nearly every call.
const lastUsedStep = time.Minute

// usage notes when a key or role was last used, in memory; SaveLastUsed makes
// it durable. A crash loses what was noted since, as the record of each call
// still tells it.
type usage struct {
	entries sync.Map // key id or role id → *useEntry
}

type useEntry struct {
	account string
	last    atomic.Pointer[use]
	saved   atomic.Pointer[use]
}

// use is one use; it is not changed.
type use struct {
	At      time.Time `json:"at"`
	Service string    `json:"service"`
	Region  string    `json:"region"`
}

// NoteUse notes that the caller's credential was used for a service (its
// signing name, "athena") in a region. Call it after authentication succeeded.
func (d *Directory) NoteUse(c *aws.Caller, service, region string) {
	id := c.AccessKeyID
	if c.Session != nil {
		if c.Type != aws.AssumedRole {
			return
		}
		id = c.Session.IssuerPrincipalID
	}
	if id == "" {
		return
	}
	v, ok := d.used.entries.Load(id)
	if !ok {
		v, _ = d.used.entries.LoadOrStore(id, &useEntry{account: c.AccountID})
	}
	e := v.(*useEntry)
	now := d.now()
	if l := e.last.Load(); l != nil && l.Service == service && l.Region == region && now.Sub(l.At) < lastUsedStep {
		return
	}
	e.last.Store(&use{At: now.UTC().Truncate(time.Second), Service: service, Region: region})
}

// SaveLastUsed writes what was noted since the last time. commit gets a batch,
// takes it over and makes it durable (journal.Commit). Run it every few minutes
// and before the store is closed.
func (d *Directory) SaveLastUsed(commit func(*kv.Batch) error) error {
	d.mu.Lock() // no key is deleted meanwhile, so none comes back
	defer d.mu.Unlock()
	b := d.store.NewBatch()
	type note struct {
		e *useEntry
		u *use
	}
	var notes []note
	var failed error
	d.used.entries.Range(func(k, v any) bool {
		id, e := k.(string), v.(*useEntry)
		u := e.last.Load()
		if u == nil || u == e.saved.Load() {
			return true
		}
		if !d.exists(e.account, id) {
			d.used.entries.Delete(id)
			return true
		}
		value, err := json.Marshal(u)
		if err != nil {
			failed = fmt.Errorf("encoding a last use: %w", err)
			return false
		}
		b.Set(stateKey(tableLastUsed, e.account, id), value)
		notes = append(notes, note{e, u})
		return true
	})
	if failed != nil || len(notes) == 0 {
		if err := b.Close(); err != nil {
			return fmt.Errorf("closing an empty batch: %w", err)
		}
		return failed
	}
	if err := commit(b); err != nil {
		return fmt.Errorf("saving last uses: %w", err)
	}
	for _, n := range notes {
		n.e.saved.Store(n.u)
	}
	return nil
}

func (d *Directory) exists(account, id string) bool {
	a := d.account(account)
	if a == nil {
		return false
	}
	if strings.HasPrefix(id, prefixRole) {
		return a.roleByID(id) != nil
	}
	_, ok := a.keys[id]
	return ok
}

func (d *Directory) lastUse(id string) *use {
	if v, ok := d.used.entries.Load(id); ok {
		return v.(*useEntry).last.Load()
	}
	return nil
}

func (d *Directory) loadLastUsed() error {
	prefix := kv.Key(kv.SpaceState, service, tableLastUsed)
	return d.store.Scan(prefix, func(k, v []byte) (bool, error) {
		account, rest, ok := kv.DecodeString(k[len(prefix):])
		id, _, ok2 := kv.DecodeString(rest)
		u := &use{}
		if err := json.Unmarshal(v, u); err != nil || !ok || !ok2 {
			return false, fmt.Errorf("the last use at %q is damaged (%v)", k, err)
		}
		e := &useEntry{account: account}
		e.last.Store(u)
		e.saved.Store(u)
		d.used.entries.Store(id, e)
		return true, nil
	})
}
