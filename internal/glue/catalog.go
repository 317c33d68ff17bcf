// Package glue is the data catalogue: databases, tables and partitions of an
// account in a region, as AWS Glue keeps them. Athena's statements change it
// in the handle step of a call or while a query runs; its rows lie in the
// store.
package glue

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"spoor/internal/kv"
)

// DefaultDatabase exists in every catalogue.
const DefaultDatabase = "default"

// FederatedDatabase holds the event data stores that CloudTrail federates, by
// their ids. CloudTrail alone changes it.
const FederatedDatabase = "aws:cloudtrail"

var (
	// ErrNoDatabase and ErrNoTable answer what does not exist.
	ErrNoDatabase = errors.New("glue: no such database")
	ErrNoTable    = errors.New("glue: no such table")
)

// Scope is whose catalogue it is.
type Scope struct{ Account, Region string }

// Database is a database.
type Database struct {
	Name        string            `json:"name"`
	Description string            `json:"description,omitempty"`
	Location    string            `json:"location,omitempty"`
	Parameters  map[string]string `json:"parameters,omitempty"`
	Created     time.Time         `json:"created"`
}

// Column is a column with its Hive type.
type Column struct {
	Name    string `json:"name"`
	Type    string `json:"type"`
	Comment string `json:"comment,omitempty"`
}

// Table is a table's definition.
type Table struct {
	Database      string            `json:"database"`
	Name          string            `json:"name"`
	Description   string            `json:"description,omitempty"`
	Columns       []Column          `json:"columns"`
	PartitionKeys []Column          `json:"partition_keys,omitempty"`
	Location      string            `json:"location"`
	InputFormat   string            `json:"input_format"`
	OutputFormat  string            `json:"output_format"`
	Serde         string            `json:"serde"`
	SerdeParams   map[string]string `json:"serde_params,omitempty"`
	Parameters    map[string]string `json:"parameters,omitempty"`
	Created       time.Time         `json:"created"`
}

// Partition is a partition's values, in the order of the partition keys, and
// where its files are.
type Partition struct {
	Values   []string `json:"values"`
	Location string   `json:"location"`
}

// Catalog reads and writes the catalogues of all accounts.
type Catalog struct{ store *kv.Store }

// Open makes a catalogue over a store.
func Open(store *kv.Store) (*Catalog, error) {
	if store == nil {
		return nil, errors.New("glue: a catalogue needs a store")
	}
	return &Catalog{store}, nil
}

func key(s Scope, table string, parts ...string) []byte {
	return kv.Key(kv.SpaceState, append([]string{"glue", table, s.Account, s.Region}, parts...)...)
}

func read[T any](c *Catalog, k []byte, missing error) (T, error) {
	var out T
	raw, err := c.store.Get(k)
	if errors.Is(err, kv.ErrNotFound) {
		return out, missing
	}
	if err != nil {
		return out, err
	}
	if err := json.Unmarshal(raw, &out); err != nil {
		return out, fmt.Errorf("glue: reading the catalogue: %w", err)
	}
	return out, nil
}

func list[T any](c *Catalog, prefix []byte) ([]T, error) {
	var out []T
	err := c.store.Scan(prefix, func(_, v []byte) (bool, error) {
		var x T
		if err := json.Unmarshal(v, &x); err != nil {
			return false, fmt.Errorf("glue: reading the catalogue: %w", err)
		}
		out = append(out, x)
		return true, nil
	})
	return out, err
}

func write(b *kv.Batch, k []byte, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("glue: encoding: %w", err)
	}
	b.Set(k, raw)
	return nil
}

// Database returns a database, or ErrNoDatabase.
func (c *Catalog) Database(s Scope, name string) (Database, error) {
	name = strings.ToLower(name)
	db, err := read[Database](c, key(s, "database", name), ErrNoDatabase)
	if errors.Is(err, ErrNoDatabase) && name == DefaultDatabase {
		return Database{Name: DefaultDatabase}, nil
	}
	return db, err
}

// Databases lists the databases by name.
func (c *Catalog) Databases(s Scope) ([]Database, error) {
	all, err := list[Database](c, key(s, "database"))
	if err != nil {
		return nil, err
	}
	for i, d := range all {
		if d.Name == DefaultDatabase {
			return all, nil
		}
		if d.Name > DefaultDatabase {
			return append(all[:i:i], append([]Database{{Name: DefaultDatabase}}, all[i:]...)...), nil
		}
	}
	return append(all, Database{Name: DefaultDatabase}), nil
}

// PutDatabase writes a database.
func (c *Catalog) PutDatabase(b *kv.Batch, s Scope, d Database) error {
	d.Name = strings.ToLower(d.Name)
	return write(b, key(s, "database", d.Name), d)
}

// DropDatabase removes a database with all in it.
func (c *Catalog) DropDatabase(b *kv.Batch, s Scope, name string) {
	name = strings.ToLower(name)
	b.Delete(key(s, "database", name))
	for _, t := range []string{"table", "partition"} {
		p := key(s, t, name)
		b.DeleteRange(p, kv.PrefixEnd(p))
	}
}

// Table returns a table, ErrNoTable or ErrNoDatabase.
func (c *Catalog) Table(s Scope, database, name string) (Table, error) {
	if _, err := c.Database(s, database); err != nil {
		return Table{}, err
	}
	return read[Table](c, key(s, "table", strings.ToLower(database), strings.ToLower(name)), ErrNoTable)
}

// Tables lists a database's tables by name, or ErrNoDatabase.
func (c *Catalog) Tables(s Scope, database string) ([]Table, error) {
	if _, err := c.Database(s, database); err != nil {
		return nil, err
	}
	return list[Table](c, key(s, "table", strings.ToLower(database)))
}

// PutTable writes a table.
func (c *Catalog) PutTable(b *kv.Batch, s Scope, t Table) error {
	t.Database, t.Name = strings.ToLower(t.Database), strings.ToLower(t.Name)
	return write(b, key(s, "table", t.Database, t.Name), t)
}

// DropTable removes a table and its partitions; its files stay.
func (c *Catalog) DropTable(b *kv.Batch, s Scope, database, name string) {
	database, name = strings.ToLower(database), strings.ToLower(name)
	b.Delete(key(s, "table", database, name))
	p := key(s, "partition", database, name)
	b.DeleteRange(p, kv.PrefixEnd(p))
}

// Partitions lists a table's partitions by their values.
func (c *Catalog) Partitions(s Scope, database, table string) ([]Partition, error) {
	return list[Partition](c, key(s, "partition", strings.ToLower(database), strings.ToLower(table)))
}

// HasPartition reports whether a table has a partition with these values.
func (c *Catalog) HasPartition(s Scope, database, table string, values []string) (bool, error) {
	_, err := c.store.Get(partitionKey(s, database, table, values))
	if errors.Is(err, kv.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

func partitionKey(s Scope, database, table string, values []string) []byte {
	return key(s, "partition", append([]string{strings.ToLower(database), strings.ToLower(table)}, values...)...)
}

// PutPartition writes a partition.
func (c *Catalog) PutPartition(b *kv.Batch, s Scope, database, table string, p Partition) error {
	return write(b, partitionKey(s, database, table, p.Values), p)
}

// DropPartition removes a partition; its files stay.
func (c *Catalog) DropPartition(b *kv.Batch, s Scope, database, table string, values []string) {
	b.Delete(partitionKey(s, database, table, values))
}
