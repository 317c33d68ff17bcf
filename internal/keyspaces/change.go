package keyspaces

import (
	"encoding/binary"
	"strings"

	"spoor/internal/call"
	"spoor/internal/cql"
	"spoor/internal/cql/frame"
	"spoor/internal/cql/types"
	engine "spoor/internal/engine/pebble"
)

// change is one change of the schema under way: it holds the owner's schema lock
// until the call's writes are durable, and only then the others see it.
type change struct {
	s  *space
	c  *call.Call
	o  owner
	to *Schema
	// told is what drivers are told; the zero value when nothing changed.
	told frame.SchemaChange
}

func (s *Service) change(c *call.Call) *change {
	o := owner{c.AccountID, c.Region}
	sp := s.space(o)
	c.Tx.Lock(&sp.ddl)
	return &change{s: sp, c: c, o: o, to: sp.schema.Load()}
}

// commit publishes the schema once the call's writes are durable.
func (x *change) commit(told frame.SchemaChange) {
	x.told = told
	to := x.to
	x.c.Tx.OnCommit(func() { x.s.schema.Store(to) })
}

// own finds a keyspace that may be changed.
func (x *change) own(name string) (*Keyspace, error) {
	if isSystem(name) {
		return nil, public(cql.Unauthorized("%s keyspace is not user-modifiable.", name))
	}
	ks := x.to.Keyspaces[name]
	if ks == nil {
		return nil, missing(cql.Invalid("Keyspace '%s' does not exist", name))
	}
	return ks, nil
}

func checkName(what, name string) error {
	if name == "" || len(name) > maxName {
		return public(cql.Invalid("%s names shouldn't be more than %d characters long (got \"%s\")", what, maxName, name))
	}
	for i := range len(name) {
		c := name[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' && i > 0) {
			return public(cql.Invalid("\"%s\" is not a valid %s name", name, strings.ToLower(what)))
		}
	}
	return nil
}

func checkTags(tags map[string]string) error {
	if len(tags) > maxTags {
		return public(cql.Invalid("A resource can have at most %d tags", maxTags))
	}
	return nil
}

func (x *change) createKeyspace(ks *Keyspace, ifNotExists bool) error {
	if isSystem(ks.Name) {
		return public(cql.Unauthorized("%s keyspace is not user-modifiable.", ks.Name))
	}
	if err := checkName("Keyspace", ks.Name); err != nil {
		return err
	}
	if x.to.Keyspaces[ks.Name] != nil {
		if ifNotExists {
			return nil
		}
		return fail(cql.AlreadyExists(ks.Name, ""))
	}
	if len(x.to.Keyspaces) >= maxKeyspaces {
		return public(cql.Invalid("The quota of %d keyspaces is reached", maxKeyspaces))
	}
	if err := checkTags(ks.Tags); err != nil {
		return err
	}
	if err := putKeyspace(x.c, x.o, ks); err != nil {
		return err
	}
	ks.Tables, ks.Types = map[string]*Table{}, map[string]*types.Type{}
	x.to = x.to.withKeyspace(ks.Name, ks)
	x.commit(frame.SchemaChange{Type: frame.Created, Target: frame.TargetKeyspace, Keyspace: ks.Name})
	return nil
}

// alterKeyspace applies set to a copy of a keyspace.
func (x *change) alterKeyspace(name string, set func(*Keyspace) error) error {
	ks, err := x.own(name)
	if err != nil {
		return err
	}
	n := *ks
	if err := set(&n); err != nil {
		return err
	}
	if err := checkTags(n.Tags); err != nil {
		return err
	}
	if err := putKeyspace(x.c, x.o, &n); err != nil {
		return err
	}
	x.to = x.to.withKeyspace(name, &n)
	x.commit(frame.SchemaChange{Type: frame.Updated, Target: frame.TargetKeyspace, Keyspace: name})
	return nil
}

func (x *change) dropKeyspace(name string, ifExists bool) error {
	if ifExists && x.to.Keyspaces[name] == nil && !isSystem(name) {
		return nil
	}
	ks, err := x.own(name)
	if err != nil {
		return err
	}
	for _, t := range ks.Tables {
		engine.DropTable(x.c.Tx.Batch(), t.ID)
		x.c.Tx.Delete(tableKey(x.o, name, t.Name))
	}
	for n := range ks.Types {
		x.c.Tx.Delete(typeKey(x.o, name, n))
	}
	x.c.Tx.Delete(keyspaceKey(x.o, name))
	x.to = x.to.withKeyspace(name, nil)
	x.commit(frame.SchemaChange{Type: frame.Dropped, Target: frame.TargetKeyspace, Keyspace: name})
	return nil
}

func (x *change) createTable(t *Table, ifNotExists bool) error {
	ks, err := x.own(t.Keyspace)
	if err != nil {
		return err
	}
	if err := checkName("Table", t.Name); err != nil {
		return err
	}
	if ks.Tables[t.Name] != nil {
		if ifNotExists {
			return nil
		}
		return fail(cql.AlreadyExists(t.Keyspace, t.Name))
	}
	n := 0
	for _, k := range x.to.Keyspaces {
		n += len(k.Tables)
	}
	if n >= maxTables {
		return public(cql.Invalid("The quota of %d tables is reached", maxTables))
	}
	if err := checkTags(t.Tags); err != nil {
		return err
	}
	t.UUID = randomUUID()
	t.ID = binary.BigEndian.Uint64(t.UUID[:])
	for i, c := range t.Columns {
		c.ID = uint32(i + 1)
	}
	t.NextColumn = uint32(len(t.Columns) + 1)
	if err := putTable(x.c, x.o, t); err != nil {
		return err
	}
	x.to = x.to.withKeyspace(ks.Name, ks.withTable(t.Name, t.finish()))
	x.commit(frame.SchemaChange{Type: frame.Created, Target: frame.TargetTable, Keyspace: ks.Name, Name: t.Name})
	return nil
}

// alterTable applies set to a copy of a table.
func (x *change) alterTable(keyspace, name string, ifExists bool, set func(*Keyspace, *Table) error) error {
	ks, err := x.own(keyspace)
	if err != nil {
		return err
	}
	t := ks.Tables[name]
	if t == nil {
		if ifExists {
			return nil
		}
		return fail(unconfigured(name))
	}
	n := t.clone()
	if err := set(ks, n); err != nil {
		return err
	}
	if err := checkTags(n.Tags); err != nil {
		return err
	}
	if err := putTable(x.c, x.o, n); err != nil {
		return err
	}
	x.to = x.to.withKeyspace(keyspace, ks.withTable(name, n.finish()))
	x.commit(frame.SchemaChange{Type: frame.Updated, Target: frame.TargetTable, Keyspace: keyspace, Name: name})
	return nil
}

func (x *change) dropTable(keyspace, name string, ifExists bool) error {
	if ifExists && x.to.table(keyspace, name) == nil && !isSystem(keyspace) {
		return nil
	}
	ks, err := x.own(keyspace)
	if err != nil {
		return err
	}
	t := ks.Tables[name]
	if t == nil {
		return fail(unconfigured(name))
	}
	engine.DropTable(x.c.Tx.Batch(), t.ID)
	x.c.Tx.Delete(tableKey(x.o, keyspace, name))
	x.to = x.to.withKeyspace(keyspace, ks.withTable(name, nil))
	x.commit(frame.SchemaChange{Type: frame.Dropped, Target: frame.TargetTable, Keyspace: keyspace, Name: name})
	return nil
}

func (x *change) createType(t *types.Type, ifNotExists bool) error {
	ks, err := x.own(t.Keyspace)
	if err != nil {
		return err
	}
	if err := checkName("Type", t.Name); err != nil {
		return err
	}
	if ks.Types[t.Name] != nil {
		if ifNotExists {
			return nil
		}
		return public(cql.Invalid("A user type of name %s.%s already exists", t.Keyspace, t.Name))
	}
	if err := putType(x.c, x.o, t, x.c.Start.UnixNano()); err != nil {
		return err
	}
	x.to = x.to.withKeyspace(ks.Name, ks.withType(t.Name, t))
	x.commit(frame.SchemaChange{Type: frame.Created, Target: frame.TargetType, Keyspace: ks.Name, Name: t.Name})
	return nil
}

func (x *change) dropType(keyspace, name string, ifExists bool) error {
	ks, err := x.own(keyspace)
	if err != nil {
		return err
	}
	if ks.Types[name] == nil {
		if ifExists {
			return nil
		}
		return missing(cql.Invalid("No user type named %s.%s exists.", keyspace, name))
	}
	for _, t := range ks.Types {
		if t.Name != name && t.Uses(keyspace, name) {
			return public(cql.Invalid("Cannot drop user type %s.%s as it is still used by user type %s", keyspace, name, t.Name))
		}
	}
	for _, t := range ks.Tables {
		for _, c := range t.Columns {
			if c.Type.Uses(keyspace, name) {
				return public(cql.Invalid("Cannot drop user type %s.%s as it is still used by table %s.%s", keyspace, name, keyspace, t.Name))
			}
		}
	}
	x.c.Tx.Delete(typeKey(x.o, keyspace, name))
	x.to = x.to.withKeyspace(keyspace, ks.withType(name, nil))
	x.commit(frame.SchemaChange{Type: frame.Dropped, Target: frame.TargetType, Keyspace: keyspace, Name: name})
	return nil
}
