package keyspaces

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"spoor/internal/cql"
	"spoor/internal/cql/ast"
	"spoor/internal/cql/types"
)

// define carries out a schema statement.
func (x *change) define(stmt ast.Statement, keyspace string) error {
	full := func(n ast.QualifiedName) (string, error) {
		switch {
		case n.Keyspace != "":
			return n.Keyspace, nil
		case keyspace != "":
			return keyspace, nil
		}
		return "", public(noKeyspaceGiven())
	}
	switch s := stmt.(type) {
	case *ast.CreateKeyspace:
		return x.createKeyspaceStatement(s)
	case *ast.AlterKeyspace:
		return x.alterKeyspaceStatement(s)
	case *ast.DropKeyspace:
		return x.dropKeyspace(s.Name, s.IfExists)
	case *ast.CreateTable:
		ks, err := full(s.Table)
		if err != nil {
			return err
		}
		return x.createTableStatement(s, ks)
	case *ast.AlterTable:
		ks, err := full(s.Table)
		if err != nil {
			return err
		}
		return x.alterTable(ks, s.Table.Name, s.IfExists, func(k *Keyspace, t *Table) error { return alter(s, k, t) })
	case *ast.DropTable:
		ks, err := full(s.Table)
		if err != nil {
			return err
		}
		return x.dropTable(ks, s.Table.Name, s.IfExists)
	case *ast.CreateType:
		ks, err := full(s.Type)
		if err != nil {
			return err
		}
		return x.createTypeStatement(s, ks)
	case *ast.DropType:
		ks, err := full(s.Type)
		if err != nil {
			return err
		}
		return x.dropType(ks, s.Type.Name, s.IfExists)
	}
	return refuse(stmt)
}

func noKeyspaceGiven() *cql.Error {
	return cql.Invalid("No keyspace has been specified. USE a keyspace, or explicitly specify keyspace.tablename")
}

// refuse answers what Amazon Keyspaces does not support (developer guide,
// "Supported Cassandra APIs, operations, functions, and data types").
func refuse(stmt ast.Statement) error {
	what := ""
	switch s := stmt.(type) {
	case *ast.Truncate:
		what = "TRUNCATE"
	case *ast.CreateIndex:
		what = "CREATE INDEX"
	case *ast.DropIndex:
		what = "DROP INDEX"
	case *ast.CreateView:
		what = "CREATE MATERIALIZED VIEW"
	case *ast.AlterView:
		what = "ALTER MATERIALIZED VIEW"
	case *ast.DropView:
		what = "DROP MATERIALIZED VIEW"
	case *ast.AlterType:
		what = "ALTER TYPE"
	case *ast.RestoreTable:
		what = "RESTORE TABLE"
	case *ast.Administrative:
		what = strings.TrimSpace(s.Verb + " " + s.Object)
	default:
		what = "This statement"
	}
	return public(cql.Invalid("%s is not supported.", what))
}

// property values

func literalText(e ast.Expr) (string, bool) {
	l, ok := e.(*ast.Literal)
	if !ok || l.Kind == ast.NullLiteral {
		return "", false
	}
	return l.Text, true
}

// textMap reads a map whose values are constants.
func textMap(name string, e ast.Expr) (map[string]string, error) {
	out := map[string]string{}
	if s, ok := e.(*ast.SetLiteral); ok && len(s.Items) == 0 {
		return out, nil
	}
	m, ok := e.(*ast.MapLiteral)
	if !ok {
		return nil, public(cql.Syntax("Invalid value for property '%s'. It should be a map.", name))
	}
	for _, entry := range m.Entries {
		k, ok1 := literalText(entry.Key)
		v, ok2 := literalText(entry.Value)
		if !ok1 || !ok2 {
			return nil, public(cql.Syntax("Invalid value for property '%s'. It should be a map.", name))
		}
		out[k] = v
	}
	return out, nil
}

func applyReplication(ks *Keyspace, p ast.Property) error {
	switch p.Name {
	case "replication":
		m, err := textMap(p.Name, p.Value)
		if err != nil {
			return err
		}
		return setReplication(ks, m)
	case "durable_writes":
		text, _ := literalText(p.Value)
		b, err := strconv.ParseBool(text)
		if err != nil {
			return public(cql.Syntax("Invalid value for property 'durable_writes'. It should be true or false."))
		}
		ks.Durable = b
	case "tags":
		m, err := textMap(p.Name, p.Value)
		if err != nil {
			return err
		}
		ks.Tags = m
	default:
		return public(cql.Syntax("Unknown property '%s'", p.Name))
	}
	return nil
}

// strategies are the replication strategies that are accepted: Amazon Keyspaces'
// own, and Cassandra's, which its users' scripts name.
var strategies = []string{"SingleRegionStrategy", "SimpleStrategy", "NetworkTopologyStrategy"}

func setReplication(ks *Keyspace, m map[string]string) error {
	class := m["class"]
	if class == "" {
		return public(cql.Config("Missing replication strategy class"))
	}
	short := class[strings.LastIndexByte(class, '.')+1:]
	if !slices.Contains(strategies, short) {
		return public(cql.Config("Unable to find replication strategy class 'org.apache.cassandra.locator.%s'", short))
	}
	ks.Replication = maps.Clone(m)
	ks.Replication["class"] = short
	return nil
}

func (x *change) createKeyspaceStatement(s *ast.CreateKeyspace) error {
	ks := &Keyspace{Name: s.Name, Durable: true, Created: x.c.Start}
	for _, p := range s.Properties {
		if err := applyReplication(ks, p); err != nil {
			return err
		}
	}
	if ks.Replication == nil {
		return public(cql.Config("Missing mandatory replication strategy class"))
	}
	return x.createKeyspace(ks, s.IfNotExists)
}

func (x *change) alterKeyspaceStatement(s *ast.AlterKeyspace) error {
	if s.IfExists && x.to.Keyspaces[s.Name] == nil && !isSystem(s.Name) {
		return nil
	}
	return x.alterKeyspace(s.Name, func(ks *Keyspace) error {
		if s.TagChange != ast.NoTagChange {
			tags, err := changeTags(ks.Tags, s.Tags, s.TagChange == ast.AddTags)
			ks.Tags = tags
			return err
		}
		for _, p := range s.Properties {
			if err := applyReplication(ks, p); err != nil {
				return err
			}
		}
		return nil
	})
}

func changeTags(tags map[string]string, m *ast.MapLiteral, add bool) (map[string]string, error) {
	given, err := textMap("tags", m)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	maps.Copy(out, tags)
	for k, v := range given {
		if add {
			out[k] = v
		} else if out[k] == v {
			delete(out, k)
		}
	}
	return out, nil
}

func (x *change) createTypeStatement(s *ast.CreateType, keyspace string) error {
	ks, err := x.own(keyspace)
	if err != nil {
		return err
	}
	t := &types.Type{Kind: types.UDT, Keyspace: keyspace, Name: s.Type.Name}
	for _, f := range s.Fields {
		a, err := types.Resolve(f.Type, keyspace, ks.udt)
		if err != nil {
			return public(cql.AsError(err))
		}
		switch {
		case a.Kind == types.Counter:
			return public(cql.Invalid("A user type cannot contain counters"))
		case a.Kind == types.UDT && !a.Frozen:
			return public(cql.Invalid("A user type cannot contain non-frozen UDTs"))
		case t.FieldIndex(f.Name.Text) >= 0:
			return public(cql.Invalid("Duplicate field name %s in type %s", f.Name.Text, t.Name))
		}
		t.Fields, t.Args = append(t.Fields, f.Name.Text), append(t.Args, a)
	}
	return x.createType(t, s.IfNotExists)
}

func (x *change) createTableStatement(s *ast.CreateTable, keyspace string) error {
	ks, err := x.own(keyspace)
	if err != nil {
		return err
	}
	if s.PrimaryKeys == 0 {
		return public(cql.Invalid("No PRIMARY KEY specifed (exactly one required)"))
	}
	if s.PrimaryKeys > 1 {
		return public(cql.Invalid("Multiple PRIMARY KEYs specifed (exactly one required)"))
	}
	if s.Options.CompactStorage {
		return public(cql.Invalid("COMPACT STORAGE is not supported."))
	}
	t := &Table{Keyspace: keyspace, Name: s.Table.Name, Created: x.c.Start}
	for _, d := range s.Columns {
		typ, err := types.Resolve(d.Type, keyspace, ks.udt)
		if err != nil {
			return public(cql.AsError(err))
		}
		kind := regularColumn
		if d.Static {
			kind = staticColumn
		}
		t.Columns = append(t.Columns, &Column{Name: d.Name.Text, Kind: kind, Type: typ, Pos: -1})
	}
	if err := setPrimaryKey(t, names(s.PartitionKey), names(s.ClusteringKey)); err != nil {
		return err
	}
	if err := setOrder(t, s.Options.ClusteringOrder); err != nil {
		return err
	}
	for _, p := range s.Options.Properties {
		if err := applyProperty(t, p); err != nil {
			return err
		}
	}
	return x.createTable(t, s.IfNotExists)
}

func names(list []ast.Name) []string {
	out := make([]string, len(list))
	for i, n := range list {
		out[i] = n.Text
	}
	return out
}

// setPrimaryKey gives the columns their part in the key and checks the table.
func setPrimaryKey(t *Table, partition, clustering []string) error {
	byName := map[string]*Column{}
	for _, c := range t.Columns {
		if byName[c.Name] != nil {
			return public(cql.Invalid("Multiple definition of identifier %s", c.Name))
		}
		byName[c.Name] = c
	}
	for i, list := range [2][]string{partition, clustering} {
		kind := [2]columnKind{partitionKey, clusteringKey}[i]
		for pos, n := range list {
			c := byName[n]
			switch {
			case c == nil:
				return public(cql.Invalid("Unknown definition %s referenced in PRIMARY KEY", n))
			case c.isKey():
				return public(cql.Invalid("Multiple definition of identifier %s", n))
			case c.Kind == staticColumn:
				return public(cql.Invalid("Static column %s cannot be part of the PRIMARY KEY", n))
			case c.Type.Kind == types.Counter:
				return public(cql.Invalid("counter type is not supported for PRIMARY KEY part %s", n))
			case c.Type.Kind == types.Duration:
				return public(cql.Invalid("duration type is not supported for PRIMARY KEY part %s", n))
			case c.Type.IsMultiCell():
				return public(cql.Invalid("Invalid non-frozen %s type for PRIMARY KEY component %s", map[bool]string{true: "collection", false: "user-defined"}[c.Type.IsCollection()], n))
			}
			c.Kind, c.Pos = kind, pos
		}
	}
	if len(t.Columns) > maxColumns {
		return public(cql.Invalid("A table can have at most %d columns", maxColumns))
	}
	return checkColumns(t, len(clustering))
}

func checkColumns(t *Table, clustering int) error {
	counters, others := 0, 0
	for _, c := range t.Columns {
		switch {
		case c.isKey():
		case c.Type.Kind == types.Counter:
			counters++
		default:
			others++
		}
		if c.Kind == staticColumn && clustering == 0 {
			return public(cql.Invalid("Static columns are only useful (and thus allowed) if the table has at least one clustering column"))
		}
	}
	if counters > 0 && others > 0 {
		return public(cql.Invalid("Cannot mix counter and non counter columns in the same table"))
	}
	return nil
}

func setOrder(t *Table, order []ast.ClusteringOrder) error {
	if len(order) == 0 {
		return nil
	}
	n := 0
	for _, c := range t.Columns {
		if c.Kind == clusteringKey {
			n++
		}
	}
	if len(order) != n {
		return public(cql.Invalid("Missing CLUSTERING ORDER for some clustering columns"))
	}
	for i, o := range order {
		found := false
		for _, c := range t.Columns {
			if c.Name == o.Column.Text && c.Kind == clusteringKey {
				if c.Pos != i {
					return public(cql.Invalid("The order of columns in the CLUSTERING ORDER directive must be the one of the clustering key"))
				}
				c.Desc, found = o.Desc, true
			}
		}
		if !found {
			return public(cql.Invalid("Only clustering key columns can be defined in CLUSTERING ORDER directive"))
		}
	}
	return nil
}

// maxTTL is the longest life, in seconds: 20 years, as in Cassandra.
const maxTTL = 630_720_000

// keptProperties are accepted and shown but change nothing, as with Amazon
// Keyspaces.
var keptProperties = []string{"bloom_filter_fp_chance", "caching", "compaction", "compression", "crc_check_chance",
	"dclocal_read_repair_chance", "gc_grace_seconds", "max_index_interval", "memtable_flush_period_in_ms", "min_index_interval",
	"read_repair_chance", "speculative_retry", "read_repair", "additional_write_policy", "cdc", "extensions"}

func applyProperty(t *Table, p ast.Property) error {
	text, isText := literalText(p.Value)
	switch {
	case p.Name == "comment":
		if !isText {
			return public(cql.Syntax("Invalid value for property 'comment'. It should be a string"))
		}
		t.Options.Comment = text
	case p.Name == "default_time_to_live":
		v, err := strconv.ParseInt(text, 10, 32)
		if err != nil || v < 0 || v > maxTTL {
			return public(cql.Config("default_time_to_live must be from 0 to %d", maxTTL))
		}
		t.Options.DefaultTTL = int32(v)
	case p.Name == "tags":
		m, err := textMap(p.Name, p.Value)
		if err != nil {
			return err
		}
		t.Tags = m
	case p.Name == "custom_properties":
		return applyCustom(t, p.Value)
	case slices.Contains(keptProperties, p.Name):
		props := map[string]string{}
		maps.Copy(props, t.Options.Properties)
		props[p.Name] = ast.String(p.Value)
		t.Options.Properties = props
	default:
		return public(cql.Syntax("Unknown property '%s'", p.Name))
	}
	return nil
}

// applyCustom reads CUSTOM_PROPERTIES, Amazon Keyspaces' own settings.
func applyCustom(t *Table, e ast.Expr) error {
	m, ok := e.(*ast.MapLiteral)
	if !ok {
		return public(cql.Syntax("Invalid value for property 'custom_properties'. It should be a map."))
	}
	for _, entry := range m.Entries {
		key, _ := literalText(entry.Key)
		settings, err := textMap(key, entry.Value)
		if err != nil {
			return err
		}
		status := settings["status"]
		switch key {
		case "capacity_mode":
			t.Options.ReadUnits, t.Options.WriteUnits = 0, 0
			if settings["throughput_mode"] == "PROVISIONED" {
				r, err1 := strconv.ParseInt(settings["read_capacity_units"], 10, 64)
				w, err2 := strconv.ParseInt(settings["write_capacity_units"], 10, 64)
				if err1 != nil || err2 != nil || r < 1 || w < 1 {
					return public(cql.Invalid("read_capacity_units and write_capacity_units must be positive with PROVISIONED throughput"))
				}
				t.Options.ReadUnits, t.Options.WriteUnits = r, w
			} else if settings["throughput_mode"] != "PAY_PER_REQUEST" {
				return public(cql.Invalid("throughput_mode must be PAY_PER_REQUEST or PROVISIONED"))
			}
		case "point_in_time_recovery":
			t.Options.PITR = status == "enabled"
		case "client_side_timestamps":
			t.Options.ClientTimestamps = status == "enabled"
		case "ttl":
			t.Options.TTLEnabled = status == "enabled"
		case "encryption_specification":
			t.Options.KMSKey = settings["kms_key_identifier"]
		default:
			return public(cql.Invalid("Unknown custom property '%s'", key))
		}
	}
	return nil
}

// alter applies an ALTER TABLE to a copy of the table.
func alter(s *ast.AlterTable, ks *Keyspace, t *Table) error {
	find := func(name string) *Column {
		for _, c := range t.Columns {
			if c.Name == name {
				return c
			}
		}
		return nil
	}
	switch s.Kind {
	case ast.AlterTableAdd:
		for _, d := range s.Columns {
			if find(d.Name.Text) != nil {
				if s.IfNotExistsColumn {
					continue
				}
				return public(cql.Invalid("Invalid column name %s because it conflicts with an existing column", d.Name.Text))
			}
			typ, err := types.Resolve(d.Type, ks.Name, ks.udt)
			if err != nil {
				return public(cql.AsError(err))
			}
			kind := regularColumn
			if d.Static {
				kind = staticColumn
			}
			t.Columns = append(t.Columns, &Column{ID: t.NextColumn, Name: d.Name.Text, Kind: kind, Type: typ, Pos: -1})
			t.NextColumn++
		}
		if len(t.Columns) > maxColumns {
			return public(cql.Invalid("A table can have at most %d columns", maxColumns))
		}
		return checkColumns(t, len(t.Clustering))
	case ast.AlterTableDrop:
		for _, n := range s.Drop {
			c := find(n.Text)
			switch {
			case c == nil && s.IfExistsColumn:
				continue
			case c == nil:
				return public(cql.Invalid("Column %s was not found in table %s", n.Text, t.Name))
			case c.isKey():
				return public(cql.Invalid("Cannot drop PRIMARY KEY part %s", n.Text))
			}
			t.Columns = slices.DeleteFunc(t.Columns, func(x *Column) bool { return x == c })
		}
	case ast.AlterTableWith:
		if len(s.Options.ClusteringOrder) > 0 || s.Options.CompactStorage {
			return public(cql.Invalid("The clustering order and COMPACT STORAGE of a table cannot be altered"))
		}
		for _, p := range s.Options.Properties {
			if err := applyProperty(t, p); err != nil {
				return err
			}
		}
	case ast.AlterTableAddTags, ast.AlterTableDropTags:
		tags, err := changeTags(t.Tags, s.Tags, s.Kind == ast.AlterTableAddTags)
		t.Tags = tags
		return err
	case ast.AlterTableType:
		return public(cql.Invalid("Altering of types is not allowed"))
	default:
		return public(cql.Invalid("This form of ALTER TABLE is not supported."))
	}
	return nil
}
