package cloudtrail

import (
	"encoding/json"
	"errors"
	"fmt"

	"spoor/internal/call"
	"spoor/internal/kv"
)

// rowVersion is the version of every row that this package writes.
const rowVersion = 1

// table is a kind of row: kv.SpaceState's "cloudtrail", its name, then the
// account, the region and what identifies a row in them.
type table[T any] struct{ name string }

type row[T any] struct {
	Version int `json:"version"`
	Row     T   `json:"row"`
}

func (t table[T]) key(account, region string, id ...string) []byte {
	return kv.Key(kv.SpaceState, append([]string{"cloudtrail", t.name, account, region}, id...)...)
}

func (t table[T]) put(c *call.Call, v *T, account, region string, id ...string) error {
	return t.write(c.Tx.Set, v, account, region, id...)
}

func (t table[T]) write(set func(key, value []byte), v *T, account, region string, id ...string) error {
	b, err := json.Marshal(row[T]{rowVersion, *v})
	if err != nil {
		return fmt.Errorf("writing a %s: %w", t.name, err)
	}
	set(t.key(account, region, id...), b)
	return nil
}

func (t table[T]) delete(c *call.Call, account, region string, id ...string) {
	c.Tx.Delete(t.key(account, region, id...))
}

func (t table[T]) decode(b []byte) (*T, error) {
	var r row[T]
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("a row of kind %s is damaged: %w", t.name, err)
	}
	if r.Version != rowVersion {
		return nil, fmt.Errorf("a row of kind %s has version %d; this program knows version %d", t.name, r.Version, rowVersion)
	}
	return &r.Row, nil
}

// get returns a row, or nil when there is none.
func (t table[T]) get(store *kv.Store, account, region string, id ...string) (*T, error) {
	b, err := store.Get(t.key(account, region, id...))
	if errors.Is(err, kv.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading a %s: %w", t.name, err)
	}
	return t.decode(b)
}

// list returns the rows under a part of the key, in its order.
func (t table[T]) list(store *kv.Store, account, region string, id ...string) ([]*T, error) {
	return t.under(store, t.key(account, region, id...))
}

// all returns the rows of all accounts and regions.
func (t table[T]) all(store *kv.Store) ([]*T, error) {
	return t.under(store, kv.Key(kv.SpaceState, "cloudtrail", t.name))
}

func (t table[T]) under(store *kv.Store, prefix []byte) ([]*T, error) {
	var out []*T
	err := store.Scan(prefix, func(_, v []byte) (bool, error) {
		x, err := t.decode(v)
		out = append(out, x)
		return err == nil, err
	})
	if err != nil {
		return nil, fmt.Errorf("listing the rows of kind %s: %w", t.name, err)
	}
	return out, nil
}
