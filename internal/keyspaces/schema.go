package keyspaces

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"spoor/internal/call"
	"spoor/internal/cql/parser"
	"spoor/internal/cql/types"
	"spoor/internal/kv"
)

// Quotas ("Quotas for Amazon Keyspaces", default values).
const (
	maxKeyspaces = 256
	maxTables    = 256 // per account and region
	maxColumns   = 500 // keeps a table's schema below the quota of 350 KB
	maxTags      = 50
	maxName      = 48 // characters of a keyspace's, table's or type's name
)

// columnKind is a column's part in the primary key.
type columnKind string

const (
	partitionKey  columnKind = "partition_key"
	clusteringKey columnKind = "clustering"
	staticColumn  columnKind = "static"
	regularColumn columnKind = "regular"
)

// Column is a column of a table.
type Column struct {
	ID   uint32 // never used again when the column is dropped
	Name string
	Kind columnKind
	Type *types.Type
	Pos  int  // within the partition or clustering key; else -1
	Desc bool // clustering order
	// index is the place among Table.Columns.
	index int
}

func (c *Column) isKey() bool { return c.Kind == partitionKey || c.Kind == clusteringKey }

// Table is a table's schema. It does not change: ALTER makes a new one.
type Table struct {
	ID       uint64 // of its rows in the store
	UUID     [16]byte
	Keyspace string
	Name     string
	// Columns are in the order of SELECT *: partition key, clustering key, static
	// columns and regular ones by name.
	Columns    []*Column
	Partition  []*Column
	Clustering []*Column
	NextColumn uint32
	Counter    bool
	Options    tableOptions
	Tags       map[string]string
	Created    time.Time

	byName map[string]*Column
	// system tables have no rows in the store; reader.rows makes them.
	system bool
}

// tableOptions are the settings of a table that this server keeps.
type tableOptions struct {
	Comment          string            `json:"comment,omitempty"`
	DefaultTTL       int32             `json:"defaultTTL,omitempty"` // seconds; 0: none
	Properties       map[string]string `json:"properties,omitempty"` // accepted and shown, without effect
	ReadUnits        int64             `json:"readUnits,omitempty"`  // provisioned capacity; 0: on demand
	WriteUnits       int64             `json:"writeUnits,omitempty"`
	PITR             bool              `json:"pitr,omitempty"`
	ClientTimestamps bool              `json:"clientTimestamps,omitempty"`
	TTLEnabled       bool              `json:"ttlEnabled,omitempty"`
	KMSKey           string            `json:"kmsKey,omitempty"`
}

// Keyspace is a keyspace's schema. It does not change.
type Keyspace struct {
	Name        string
	Replication map[string]string // class and options
	Durable     bool
	Tags        map[string]string
	Created     time.Time
	Tables      map[string]*Table
	Types       map[string]*types.Type
}

// Schema is all of an account in a region. It does not change.
type Schema struct {
	Version   [16]byte
	Keyspaces map[string]*Keyspace
}

func (s *Schema) table(keyspace, name string) *Table {
	if ks := s.Keyspaces[keyspace]; ks != nil {
		return ks.Tables[name]
	}
	return nil
}

// withKeyspace is a copy with ks in place of the one of its name; nil removes.
func (s *Schema) withKeyspace(name string, ks *Keyspace) *Schema {
	n := &Schema{Version: randomUUID(), Keyspaces: maps.Clone(s.Keyspaces)}
	if ks == nil {
		delete(n.Keyspaces, name)
	} else {
		n.Keyspaces[name] = ks
	}
	return n
}

func (k *Keyspace) withTable(name string, t *Table) *Keyspace {
	n := *k
	n.Tables = maps.Clone(k.Tables)
	if t == nil {
		delete(n.Tables, name)
	} else {
		n.Tables[name] = t
	}
	return &n
}

func (k *Keyspace) withType(name string, t *types.Type) *Keyspace {
	n := *k
	n.Types = maps.Clone(k.Types)
	if t == nil {
		delete(n.Types, name)
	} else {
		n.Types[name] = t
	}
	return &n
}

func (k *Keyspace) udt(_, name string) (*types.Type, bool) {
	t, ok := k.Types[name]
	return t, ok
}

// finish orders a table's columns and makes what is derived from them.
func (t *Table) finish() *Table {
	rank := map[columnKind]int{partitionKey: 0, clusteringKey: 1, staticColumn: 2, regularColumn: 3}
	slices.SortFunc(t.Columns, func(a, b *Column) int {
		return cmp.Or(cmp.Compare(rank[a.Kind], rank[b.Kind]), cmp.Compare(a.Pos, b.Pos), cmp.Compare(a.Name, b.Name))
	})
	t.byName = make(map[string]*Column, len(t.Columns))
	t.Partition, t.Clustering, t.Counter = nil, nil, false
	for i, c := range t.Columns {
		c.index = i
		t.byName[c.Name] = c
		switch c.Kind {
		case partitionKey:
			t.Partition = append(t.Partition, c)
		case clusteringKey:
			t.Clustering = append(t.Clustering, c)
		}
		t.Counter = t.Counter || c.Type.Kind == types.Counter
	}
	return t
}

// clone is a copy whose columns may be changed.
func (t *Table) clone() *Table {
	n := *t
	n.Columns = make([]*Column, len(t.Columns))
	for i, c := range t.Columns {
		cc := *c
		n.Columns[i] = &cc
	}
	return &n
}

func randomUUID() (u [16]byte) {
	_, _ = rand.Read(u[:]) // does not fail (Go 1.24)
	u[6] = u[6]&0x0f | 0x40
	u[8] = u[8]&0x3f | 0x80
	return u
}

// What the store keeps, as JSON.
type (
	storedKeyspace struct {
		Replication map[string]string `json:"replication"`
		Durable     bool              `json:"durable"`
		Tags        map[string]string `json:"tags,omitempty"`
		Created     time.Time         `json:"created"`
	}
	storedColumn struct {
		ID   uint32     `json:"id"`
		Name string     `json:"name"`
		Kind columnKind `json:"kind"`
		Type string     `json:"type"`
		Pos  int        `json:"pos"`
		Desc bool       `json:"desc,omitempty"`
	}
	storedTable struct {
		UUID       [16]byte          `json:"uuid"`
		Columns    []storedColumn    `json:"columns"`
		NextColumn uint32            `json:"nextColumn"`
		Options    tableOptions      `json:"options"`
		Tags       map[string]string `json:"tags,omitempty"`
		Created    time.Time         `json:"created"`
	}
	storedType struct {
		Order  int64    `json:"order"` // a type refers only to types made before it
		Fields []string `json:"fields"`
		Types  []string `json:"types"`
	}
)

const stateService = "keyspaces"

func keyspaceKey(o owner, ks string) []byte {
	return kv.Key(kv.SpaceState, stateService, "keyspace", o.account, o.region, ks)
}

func tableKey(o owner, ks, table string) []byte {
	return kv.Key(kv.SpaceState, stateService, "table", o.account, o.region, ks, table)
}

func typeKey(o owner, ks, name string) []byte {
	return kv.Key(kv.SpaceState, stateService, "type", o.account, o.region, ks, name)
}

func put(c *call.Call, key []byte, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding schema: %w", err)
	}
	c.Tx.Set(key, b)
	return nil
}

func putKeyspace(c *call.Call, o owner, k *Keyspace) error {
	return put(c, keyspaceKey(o, k.Name), storedKeyspace{k.Replication, k.Durable, k.Tags, k.Created})
}

func putTable(c *call.Call, o owner, t *Table) error {
	s := storedTable{UUID: t.UUID, NextColumn: t.NextColumn, Options: t.Options, Tags: t.Tags, Created: t.Created}
	for _, col := range t.Columns {
		s.Columns = append(s.Columns, storedColumn{col.ID, col.Name, col.Kind, col.Type.String(), col.Pos, col.Desc})
	}
	return put(c, tableKey(o, t.Keyspace, t.Name), s)
}

func putType(c *call.Call, o owner, t *types.Type, order int64) error {
	s := storedType{Order: order, Fields: t.Fields}
	for _, a := range t.Args {
		s.Types = append(s.Types, a.String())
	}
	return put(c, typeKey(o, t.Keyspace, t.Name), s)
}

// owner is whose schema it is.
type owner struct{ account, region string }

// loader reads the schemas of all owners when the service opens.
type loader struct {
	store *kv.Store
	all   map[owner]*Schema
}

func load(store *kv.Store) (map[owner]*Schema, error) {
	l := &loader{store: store, all: map[owner]*Schema{}}
	if err := l.scan("keyspace", 3, l.keyspace); err != nil {
		return nil, err
	}
	if err := l.types(); err != nil {
		return nil, err
	}
	if err := l.scan("table", 4, l.table); err != nil {
		return nil, err
	}
	return l.all, nil
}

// scan gives the last n parts of the keys of a kind, and the values.
func (l *loader) scan(kind string, n int, fn func(names []string, value []byte) error) error {
	prefix := kv.Key(kv.SpaceState, stateService, kind)
	return l.store.Scan(prefix, func(key, value []byte) (bool, error) {
		rest, names := key[len(prefix):], make([]string, 0, n)
		for range n {
			s, r, ok := kv.DecodeString(rest)
			if !ok {
				return false, fmt.Errorf("a key of the %s schema is damaged", kind)
			}
			names, rest = append(names, s), r
		}
		if err := fn(names, value); err != nil {
			return false, fmt.Errorf("loading the schema of %s %v: %w", kind, names[2:], err)
		}
		return true, nil
	})
}

func (l *loader) keyspace(n []string, value []byte) error {
	var s storedKeyspace
	if err := json.Unmarshal(value, &s); err != nil {
		return err
	}
	o := owner{n[0], n[1]}
	if l.all[o] == nil {
		l.all[o] = &Schema{Version: randomUUID(), Keyspaces: map[string]*Keyspace{}}
	}
	l.all[o].Keyspaces[n[2]] = &Keyspace{Name: n[2], Replication: s.Replication, Durable: s.Durable, Tags: s.Tags,
		Created: s.Created, Tables: map[string]*Table{}, Types: map[string]*types.Type{}}
	return nil
}

func (l *loader) find(n []string) (*Keyspace, error) {
	if s := l.all[owner{n[0], n[1]}]; s != nil && s.Keyspaces[n[2]] != nil {
		return s.Keyspaces[n[2]], nil
	}
	return nil, fmt.Errorf("it has no keyspace")
}

func (l *loader) types() error {
	type named struct {
		names []string
		storedType
	}
	var list []named
	err := l.scan("type", 4, func(n []string, value []byte) error {
		t := named{names: n}
		list = append(list, t)
		return json.Unmarshal(value, &list[len(list)-1].storedType)
	})
	if err != nil {
		return err
	}
	slices.SortStableFunc(list, func(a, b named) int { return cmp.Compare(a.Order, b.Order) })
	for _, s := range list {
		ks, err := l.find(s.names)
		if err != nil {
			return err
		}
		t := &types.Type{Kind: types.UDT, Keyspace: ks.Name, Name: s.names[3], Fields: s.Fields}
		for _, text := range s.Types {
			a, err := ks.parseType(text)
			if err != nil {
				return err
			}
			t.Args = append(t.Args, a)
		}
		ks.Types[t.Name] = t
	}
	return nil
}

func (k *Keyspace) parseType(text string) (*types.Type, error) {
	n, err := parser.ParseType(text)
	if err != nil {
		return nil, err
	}
	return types.Resolve(n, k.Name, k.udt)
}

func (l *loader) table(n []string, value []byte) error {
	var s storedTable
	if err := json.Unmarshal(value, &s); err != nil {
		return err
	}
	ks, err := l.find(n)
	if err != nil {
		return err
	}
	t := &Table{ID: binary.BigEndian.Uint64(s.UUID[:]), UUID: s.UUID, Keyspace: n[2], Name: n[3], NextColumn: s.NextColumn,
		Options: s.Options, Tags: s.Tags, Created: s.Created}
	for _, c := range s.Columns {
		typ, err := ks.parseType(c.Type)
		if err != nil {
			return err
		}
		t.Columns = append(t.Columns, &Column{ID: c.ID, Name: c.Name, Kind: c.Kind, Type: typ, Pos: c.Pos, Desc: c.Desc})
	}
	ks.Tables[t.Name] = t.finish()
	return nil
}
