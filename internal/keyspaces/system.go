package keyspaces

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"

	"spoor/internal/cql"
	"spoor/internal/cql/parser"
	"spoor/internal/cql/types"
)

// releaseVersion is the Cassandra version whose API Amazon Keyspaces speaks, as
// its system.local says.
const releaseVersion = "3.11.2"

// systemDefinitions are the system tables: name, then columns as CREATE TABLE
// has them, the partition key first, ! after it, then the clustering key, ! and
// the rest. The columns are Cassandra 3.11's; those of system_schema_mcs are
// Amazon Keyspaces' ("Working with system tables").
var systemDefinitions = []struct {
	keyspace, name, columns string
}{
	{"system", "local", "key text ! ! bootstrapped text, broadcast_address inet, cluster_name text, cql_version text, data_center text, gossip_generation int, " +
		"host_id uuid, listen_address inet, native_protocol_version text, partitioner text, rack text, release_version text, rpc_address inet, " +
		"schema_version uuid, thrift_version text, tokens frozen<set<text>>, truncated_at frozen<map<uuid, blob>>"},
	{"system", "peers", "peer inet ! ! data_center text, host_id uuid, preferred_ip inet, rack text, release_version text, rpc_address inet, schema_version uuid, tokens frozen<set<text>>"},
	{"system", "size_estimates", "keyspace_name text ! table_name text, range_start text, range_end text ! mean_partition_size bigint, partitions_count bigint"},
	{"system", "prepared_statements", "prepared_id blob ! ! logged_keyspace text, query_string text"},
	{"system_schema", "keyspaces", "keyspace_name text ! ! durable_writes boolean, replication frozen<map<text, text>>"},
	{"system_schema", "tables", "keyspace_name text ! table_name text ! " + tableColumns},
	{"system_schema", "columns", "keyspace_name text ! table_name text, column_name text ! clustering_order text, column_name_bytes blob, kind text, position int, type text"},
	{"system_schema", "types", "keyspace_name text ! type_name text ! field_names frozen<list<text>>, field_types frozen<list<text>>"},
	{"system_schema", "functions", "keyspace_name text ! function_name text, argument_types frozen<list<text>> ! argument_names frozen<list<text>>, body text, called_on_null_input boolean, language text, return_type text"},
	{"system_schema", "aggregates", "keyspace_name text ! aggregate_name text, argument_types frozen<list<text>> ! final_func text, initcond text, return_type text, state_func text, state_type text"},
	{"system_schema", "triggers", "keyspace_name text ! table_name text, trigger_name text ! options frozen<map<text, text>>"},
	{"system_schema", "indexes", "keyspace_name text ! table_name text, index_name text ! kind text, options frozen<map<text, text>>"},
	{"system_schema", "views", "keyspace_name text ! view_name text ! base_table_id uuid, base_table_name text, include_all_columns boolean, where_clause text, " + tableColumns},
	{"system_schema", "dropped_columns", "keyspace_name text ! table_name text, column_name text ! dropped_time timestamp, kind text, type text"},
	{"system_schema_mcs", "keyspaces", "keyspace_name text ! ! durable_writes boolean, replication frozen<map<text, text>>"},
	{"system_schema_mcs", "tables", "keyspace_name text ! table_name text ! custom_properties frozen<map<text, frozen<map<text, text>>>>, status text, " + tableColumns},
	{"system_schema_mcs", "columns", "keyspace_name text ! table_name text, column_name text ! clustering_order text, column_name_bytes blob, kind text, position int, type text"},
	{"system_schema_mcs", "tags", "resource_id text ! ! keyspace_name text, resource_name text, resource_type text, tags frozen<map<text, text>>"},
	{"system_schema_mcs", "types", "keyspace_name text ! type_name text ! field_names frozen<list<text>>, field_types frozen<list<text>>, status text"},
}

const tableColumns = "bloom_filter_fp_chance double, caching frozen<map<text, text>>, cdc boolean, comment text, compaction frozen<map<text, text>>, " +
	"compression frozen<map<text, text>>, crc_check_chance double, dclocal_read_repair_chance double, default_time_to_live int, " +
	"extensions frozen<map<text, blob>>, flags frozen<set<text>>, gc_grace_seconds int, id uuid, max_index_interval int, " +
	"memtable_flush_period_in_ms int, min_index_interval int, read_repair_chance double, speculative_retry text"

// cells is a row of a system table: what is not null, by column, as values that
// wire makes wire values of.
type cells map[string]any

// systemTables are all system tables by keyspace and name; they do not change.
var systemTables = makeSystemTables()

func isSystem(keyspace string) bool { return systemTables[keyspace] != nil }

func systemTable(keyspace, name string) *Table { return systemTables[keyspace][name] }

func makeSystemTables() map[string]map[string]*Table {
	all := map[string]map[string]*Table{}
	for i, d := range systemDefinitions {
		t := &Table{Keyspace: d.keyspace, Name: d.name, UUID: [16]byte{6: 0x30, 8: 0x80, 15: byte(i + 1)}}
		for part, list := range strings.Split(d.columns, "!") {
			for pos, def := range splitColumns(list) {
				name, text, _ := strings.Cut(def, " ")
				n, err := parser.ParseType(text)
				if err != nil {
					panic(fmt.Sprintf("keyspaces: the definition of %s.%s: %v", d.keyspace, d.name, err))
				}
				typ, err := types.Resolve(n, d.keyspace, func(string, string) (*types.Type, bool) { return nil, false })
				if err != nil {
					panic(fmt.Sprintf("keyspaces: the definition of %s.%s: %v", d.keyspace, d.name, err))
				}
				c := &Column{Name: name, Type: typ, Kind: [...]columnKind{partitionKey, clusteringKey, regularColumn}[part], Pos: pos}
				if c.Kind == regularColumn {
					c.Pos = -1
				}
				t.Columns = append(t.Columns, c)
			}
		}
		t.finish()
		t.system = true
		if all[d.keyspace] == nil {
			all[d.keyspace] = map[string]*Table{}
		}
		all[d.keyspace][d.name] = t
	}
	return all
}

// rows makes the rows of a system table; those not named have none.
func (r *reader) rows(t *Table) [][][]byte {
	var list []cells
	switch t.Keyspace + "." + t.Name {
	case "system.local":
		list = r.local()
	case "system_schema.keyspaces", "system_schema_mcs.keyspaces":
		list = r.keyspaces()
	case "system_schema.tables", "system_schema_mcs.tables":
		list = r.tables()
	case "system_schema.columns", "system_schema_mcs.columns":
		list = r.columns()
	case "system_schema.types", "system_schema_mcs.types":
		list = r.udts()
	case "system_schema_mcs.tags":
		list = r.tags()
	}
	return t.wire(list)
}

// splitColumns splits at the commas outside <>.
func splitColumns(s string) []string {
	var out []string
	depth, from := 0, 0
	for i := 0; i <= len(s); i++ {
		switch {
		case i == len(s) || s[i] == ',' && depth == 0:
			if def := strings.TrimSpace(s[from:i]); def != "" {
				out = append(out, def)
			}
			from = i + 1
		case s[i] == '<':
			depth++
		case s[i] == '>':
			depth--
		}
	}
	return out
}

// wire makes rows of wire values, in the order of the primary key.
func (t *Table) wire(rows []cells) [][][]byte {
	out := make([][][]byte, len(rows))
	for i, row := range rows {
		out[i] = make([][]byte, len(t.Columns))
		for _, c := range t.Columns {
			if v, ok := row[c.Name]; ok {
				out[i][c.index] = wireValue(c.Type, v)
			}
		}
	}
	slices.SortFunc(out, func(a, b [][]byte) int {
		for i := range len(t.Partition) + len(t.Clustering) {
			if n := t.Columns[i].Type.Compare(a[i], b[i]); n != 0 {
				return n
			}
		}
		return 0
	})
	return out
}

func wireValue(t *types.Type, v any) []byte {
	switch v := v.(type) {
	case []byte:
		return v
	case string:
		return []byte(v)
	case bool:
		if v {
			return []byte{1}
		}
		return []byte{0}
	case int:
		return binary.BigEndian.AppendUint32(nil, uint32(v))
	case float64:
		b, err := t.FromText(fmt.Sprint(v))
		if err != nil {
			return nil
		}
		return b
	case [16]byte:
		return v[:]
	case []string:
		parts := make([][]byte, len(v))
		for i, s := range v {
			parts[i] = []byte(s)
		}
		return t.Join(t.Normalize(parts))
	case map[string]string:
		var parts [][]byte
		for k, s := range v {
			parts = append(parts, []byte(k), []byte(s))
		}
		return t.Join(t.Normalize(parts))
	case map[string]map[string]string:
		var parts [][]byte
		for k, m := range v {
			parts = append(parts, []byte(k), wireValue(t.Args[1], m))
		}
		return t.Join(t.Normalize(parts))
	}
	return nil
}

func (r *reader) local() []cells {
	addr := r.req.conn.Local.Addr().Unmap().AsSlice()
	return []cells{{
		"key": "local", "bootstrapped": "COMPLETED", "broadcast_address": addr, "cluster_name": r.s.cluster, "cql_version": cql.Version,
		"data_center": r.req.session.Region, "gossip_generation": int(r.now.Unix()), "host_id": r.s.hostID, "listen_address": addr,
		"native_protocol_version": fmt.Sprint(cql.MaxProtocol), "partitioner": "org.apache.cassandra.dht.Murmur3Partitioner", "rack": r.req.session.Region,
		"release_version": releaseVersion, "rpc_address": addr, "schema_version": r.schema.Version, "thrift_version": "20.1.0",
		"tokens": []string{"0"}, "truncated_at": map[string]string{},
	}}
}

// allKeyspaces gives the account's keyspaces and the system's.
func (r *reader) allKeyspaces() []*Keyspace {
	var out []*Keyspace
	for _, ks := range r.schema.Keyspaces {
		out = append(out, ks)
	}
	for name, tables := range systemTables {
		out = append(out, &Keyspace{Name: name, Durable: true, Tables: tables,
			Replication: map[string]string{"class": "LocalStrategy"}})
	}
	slices.SortFunc(out, func(a, b *Keyspace) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// strategyClass is the strategy's Java class, which drivers look for. The single
// Region strategy shows as three simple replicas (Amazon Keyspaces developer
// guide, "Create a keyspace"), which drivers know how to route for.
func strategyClass(m map[string]string) map[string]string {
	if m["class"] == "SingleRegionStrategy" {
		return map[string]string{"class": "org.apache.cassandra.locator.SimpleStrategy", "replication_factor": "3"}
	}
	out := maps.Clone(m)
	if c := m["class"]; !strings.Contains(c, ".") {
		out["class"] = "org.apache.cassandra.locator." + c
	}
	return out
}

func (r *reader) keyspaces() (out []cells) {
	for _, ks := range r.allKeyspaces() {
		out = append(out, cells{"keyspace_name": ks.Name, "durable_writes": ks.Durable, "replication": strategyClass(ks.Replication)})
	}
	return out
}

func (r *reader) tables() (out []cells) {
	for _, ks := range r.allKeyspaces() {
		for _, t := range ks.Tables {
			flags := []string{"compound"}
			if t.Counter {
				flags = append(flags, "counter")
			}
			out = append(out, cells{"keyspace_name": ks.Name, "table_name": t.Name, "bloom_filter_fp_chance": 0.01,
				"caching": map[string]string{"class": "com.amazonaws.cassandra.DefaultCaching"}, "comment": t.Options.Comment,
				"compaction":  map[string]string{"class": "com.amazonaws.cassandra.DefaultCompaction"},
				"compression": map[string]string{"class": "com.amazonaws.cassandra.DefaultCompression"}, "crc_check_chance": 1.0,
				"dclocal_read_repair_chance": 0.0, "default_time_to_live": int(t.Options.DefaultTTL), "extensions": map[string]string{},
				"flags": flags, "gc_grace_seconds": 7776000, "id": t.UUID, "max_index_interval": 2048, "memtable_flush_period_in_ms": 3600000,
				"min_index_interval": 128, "read_repair_chance": 0.0, "speculative_retry": "99PERCENTILE",
				"status": "ACTIVE", "custom_properties": t.customProperties()})
		}
	}
	return out
}

// customProperties are a table's settings as system_schema_mcs shows them.
func (t *Table) customProperties() map[string]map[string]string {
	status := func(on bool) map[string]string {
		return map[string]string{"status": map[bool]string{true: "enabled", false: "disabled"}[on]}
	}
	capacity := map[string]string{"throughput_mode": "PAY_PER_REQUEST"}
	if t.Options.ReadUnits > 0 {
		capacity = map[string]string{"throughput_mode": "PROVISIONED", "read_capacity_units": fmt.Sprint(t.Options.ReadUnits),
			"write_capacity_units": fmt.Sprint(t.Options.WriteUnits)}
	}
	encryption := map[string]string{"encryption_type": "AWS_OWNED_KMS_KEY"}
	if t.Options.KMSKey != "" {
		encryption = map[string]string{"encryption_type": "CUSTOMER_MANAGED_KMS_KEY", "kms_key_identifier": t.Options.KMSKey}
	}
	return map[string]map[string]string{"capacity_mode": capacity, "encryption_specification": encryption,
		"point_in_time_recovery": status(t.Options.PITR), "client_side_timestamps": status(t.Options.ClientTimestamps)}
}

func (r *reader) columns() (out []cells) {
	for _, ks := range r.allKeyspaces() {
		for _, t := range ks.Tables {
			for _, c := range t.Columns {
				order := "none"
				if c.Kind == clusteringKey {
					order = map[bool]string{true: "desc", false: "asc"}[c.Desc]
				}
				out = append(out, cells{"keyspace_name": ks.Name, "table_name": t.Name, "column_name": c.Name, "clustering_order": order,
					"column_name_bytes": c.Name, "kind": string(c.Kind), "position": c.Pos, "type": c.Type.String()})
			}
		}
	}
	return out
}

func (r *reader) udts() (out []cells) {
	for _, ks := range r.allKeyspaces() {
		for _, t := range ks.Types {
			var list []string
			for _, a := range t.Args {
				list = append(list, a.String())
			}
			out = append(out, cells{"keyspace_name": ks.Name, "type_name": t.Name, "field_names": t.Fields, "field_types": list, "status": "ACTIVE"})
		}
	}
	return out
}

func (r *reader) tags() (out []cells) {
	sess := r.req.session
	for _, ks := range r.schema.Keyspaces {
		if len(ks.Tags) > 0 {
			out = append(out, cells{"resource_id": resourceARN(sess.Region, sess.Account, ks.Name, ""), "keyspace_name": ks.Name,
				"resource_name": ks.Name, "resource_type": "keyspace", "tags": ks.Tags})
		}
		for _, t := range ks.Tables {
			if len(t.Tags) > 0 {
				out = append(out, cells{"resource_id": resourceARN(sess.Region, sess.Account, ks.Name, t.Name), "keyspace_name": ks.Name,
					"resource_name": t.Name, "resource_type": "table", "tags": t.Tags})
			}
		}
	}
	return out
}
