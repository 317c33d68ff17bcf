package keyspaces

import (
	"encoding/json"
	"slices"

	"spoor/internal/cql"
	"spoor/internal/cql/ast"
	"spoor/internal/cql/types"
	engine "spoor/internal/engine/pebble"
	"spoor/internal/kv"
)

// opKind is what an operation does to a column.
type opKind uint8

const (
	opSet opKind = iota
	opAdd
	opSubtract
	opPrepend
	opSetElement
	opSetField
	opDelete
	opDeleteElement
	opDeleteField
)

// columnOp is one change of a column.
type columnOp struct {
	kind  opKind
	col   *Column
	key   ast.Expr
	value ast.Expr
	field int
}

// modifyPlan is a compiled INSERT, UPDATE or DELETE. It does not change and is
// shared.
type modifyPlan struct {
	t          *Table
	insert     bool
	remove     bool // a DELETE
	partition  []ast.Expr
	clustering []ast.Expr // = on a prefix of the clustering key
	slices     []*ast.Relation
	ops        []columnOp
	document   ast.Expr // INSERT … JSON
	unset      bool     // DEFAULT UNSET
	using      ast.Using
	conditions []*ast.Relation
	exists     bool
	notExists  bool
	reads      bool // needs what is there: counters, list positions
	statics    bool // touches nothing but static columns
}

func (p *modifyPlan) conditional() bool { return p.exists || p.notExists || len(p.conditions) > 0 }

func compileModify(t *Table, stmt ast.Statement) (*modifyPlan, error) {
	if t.system {
		return nil, public(cql.Unauthorized("%s keyspace is not user-modifiable.", t.Keyspace))
	}
	p := &modifyPlan{t: t}
	var err error
	switch s := stmt.(type) {
	case *ast.Insert:
		err = p.compileInsert(s)
	case *ast.Update:
		err = p.compileUpdate(s)
	case *ast.Delete:
		err = p.compileDelete(s)
	}
	if err != nil {
		return nil, err
	}
	if p.conditional() && p.using.Timestamp != nil {
		return nil, public(cql.Invalid("Cannot provide custom timestamp for conditional updates"))
	}
	if t.Counter {
		switch {
		case p.using.Timestamp != nil:
			return nil, public(cql.Invalid("Cannot provide custom timestamp for counter updates"))
		case p.using.TTL != nil:
			return nil, public(cql.Invalid("Cannot provide custom TTL for counter updates"))
		case p.conditional():
			return nil, public(cql.Invalid("Conditional updates are not supported on counter tables"))
		}
	}
	return p, nil
}

func (p *modifyPlan) compileInsert(s *ast.Insert) error {
	p.insert, p.using, p.notExists = true, s.Using, s.IfNotExists
	if p.t.Counter {
		return public(cql.Invalid("INSERT statements are not allowed on counter tables, use UPDATE instead"))
	}
	if s.JSON != nil {
		p.document, p.unset = s.JSON, s.DefaultUnset
		return nil
	}
	if len(s.Columns) != len(s.Values) {
		return public(cql.Invalid("Unmatched column names/values"))
	}
	keys := make([]ast.Expr, len(p.t.Partition)+len(p.t.Clustering))
	seen := make([]bool, len(p.t.Columns))
	regular := false
	for i, n := range s.Columns {
		c := p.t.byName[n.Text]
		if c == nil {
			return undefined(n.Text)
		}
		if seen[c.index] {
			return public(cql.Invalid("The column names contains duplicates"))
		}
		seen[c.index] = true
		if c.isKey() {
			keys[c.index] = s.Values[i]
			regular = regular || c.Kind == clusteringKey
			continue
		}
		regular = regular || c.Kind == regularColumn
		p.ops = append(p.ops, columnOp{kind: opSet, col: c, value: s.Values[i]})
	}
	p.statics = !regular && len(p.ops) > 0 && len(p.t.Clustering) > 0
	p.partition, p.clustering = keys[:len(p.t.Partition)], keys[len(p.t.Partition):]
	for i, k := range keys {
		if k == nil && !(p.statics && i >= len(p.t.Partition)) {
			return public(cql.Invalid("Some %s are missing: %s", map[bool]string{true: "partition key parts", false: "clustering keys"}[i < len(p.t.Partition)], p.t.Columns[i].Name))
		}
	}
	if p.statics {
		p.clustering = nil
	}
	return nil
}

func (p *modifyPlan) compileUpdate(s *ast.Update) error {
	p.using, p.conditions, p.exists = s.Using, s.If, s.IfExists
	p.statics = true
	for _, a := range s.Assignments {
		c := p.t.byName[a.Column.Text]
		if c == nil {
			return undefined(a.Column.Text)
		}
		if c.isKey() {
			return public(cql.Invalid("PRIMARY KEY part %s found in SET part", c.Name))
		}
		op := columnOp{kind: map[ast.AssignKind]opKind{ast.Assign: opSet, ast.AssignAdd: opAdd, ast.AssignSubtract: opSubtract,
			ast.AssignPrepend: opPrepend, ast.AssignElement: opSetElement, ast.AssignField: opSetField}[a.Kind], col: c, key: a.Key, value: a.Value}
		if err := p.checkOperation(&op, a.Field); err != nil {
			return err
		}
		p.ops = append(p.ops, op)
		p.statics = p.statics && c.Kind == staticColumn
	}
	return p.compileKeys(s.Where, s.If)
}

// checkOperation checks that an operation fits its column's type.
func (p *modifyPlan) checkOperation(op *columnOp, field string) error {
	c, t := op.col, op.col.Type
	if t.Kind == types.Counter {
		p.reads = true
		if op.kind == opSet {
			return public(cql.Invalid("Cannot set the value of counter column %s (counters can only be incremented/decremented, not set)", c.Name))
		}
		if op.kind == opAdd || op.kind == opSubtract || op.kind == opDelete {
			return nil
		}
	}
	switch op.kind {
	case opAdd, opSubtract, opPrepend:
		if !t.IsCollection() || op.kind == opPrepend && t.Kind != types.List {
			return public(cql.Invalid("Invalid operation for non counter column %s", c.Name))
		}
		if t.Frozen {
			return public(cql.Invalid("Invalid operation for frozen collection column %s", c.Name))
		}
		p.reads = p.reads || op.kind == opSubtract && t.Kind == types.List
	case opSetElement, opDeleteElement:
		if !t.IsMultiCell() || !t.IsCollection() {
			return public(cql.Invalid("Invalid operation for non-collection or frozen column %s", c.Name))
		}
		if t.Kind == types.Set && op.kind == opSetElement {
			return public(cql.Invalid("Invalid operation for set column %s", c.Name))
		}
		p.reads = p.reads || t.Kind == types.List
	case opSetField, opDeleteField:
		op.field = t.FieldIndex(field)
		if t.Kind != types.UDT || t.Frozen || op.field < 0 {
			return public(cql.Invalid("UDT column %s does not have a field named %s that can be changed", c.Name, field))
		}
	}
	return nil
}

func (p *modifyPlan) compileDelete(s *ast.Delete) error {
	p.remove, p.using, p.conditions, p.exists = true, s.Using, s.If, s.IfExists
	p.statics = len(s.Columns) > 0
	for _, d := range s.Columns {
		c := p.t.byName[d.Column]
		if c == nil {
			return undefined(d.Column)
		}
		if c.isKey() {
			return public(cql.Invalid("Invalid identifier %s for deletion (should not be a PRIMARY KEY part)", c.Name))
		}
		op := columnOp{kind: opDelete, col: c, key: d.Key}
		if d.Key != nil {
			op.kind = opDeleteElement
		} else if d.Field != "" {
			op.kind = opDeleteField
		}
		if err := p.checkOperation(&op, d.Field); err != nil {
			return err
		}
		p.ops = append(p.ops, op)
		p.statics = p.statics && c.Kind == staticColumn
	}
	return p.compileKeys(s.Where, s.If)
}

// compileKeys sorts out WHERE of an UPDATE or DELETE.
func (p *modifyPlan) compileKeys(rels, conditions []*ast.Relation) error {
	t := p.t
	p.partition = make([]ast.Expr, len(t.Partition))
	keys := make([]ast.Expr, len(t.Clustering))
	bounds := make([][]*ast.Relation, len(t.Clustering))
	for _, r := range rels {
		c := t.byName[r.Columns[0].Text]
		switch {
		case c == nil:
			return undefined(r.Columns[0].Text)
		case r.Op == ast.OpIn:
			return public(cql.Invalid("IN restrictions are not supported in UPDATE and DELETE statements"))
		case !c.isKey():
			return public(cql.Invalid("Non PRIMARY KEY columns found in where clause: %s ", c.Name))
		case r.Kind != ast.ColumnRelation:
			return public(cql.Invalid("The %s relation is not supported in UPDATE and DELETE statements", ast.String(r.Columns[0])))
		case c.Kind == partitionKey && r.Op != ast.OpEq:
			return public(cql.Invalid("Only EQ and IN relation are supported on the partition key (unless you use the token() function)"))
		case c.Kind == partitionKey:
			if p.partition[c.Pos] != nil {
				return public(cql.Invalid("%s cannot be restricted by more than one relation if it includes an Equal", c.Name))
			}
			p.partition[c.Pos] = r.Value
		case r.Op == ast.OpEq:
			if keys[c.Pos] != nil || len(bounds[c.Pos]) > 0 {
				return public(cql.Invalid("%s cannot be restricted by more than one relation if it includes an Equal", c.Name))
			}
			keys[c.Pos] = r.Value
		case r.Op == ast.OpLt || r.Op == ast.OpLe || r.Op == ast.OpGt || r.Op == ast.OpGe:
			bounds[c.Pos] = append(bounds[c.Pos], r)
		default:
			return public(cql.Invalid("Unsupported restriction: %s", r.Op))
		}
	}
	for i, k := range p.partition {
		if k == nil {
			return public(cql.Invalid("Some partition key parts are missing: %s", t.Partition[i].Name))
		}
	}
	return p.compileClustering(keys, bounds, conditions)
}

func (p *modifyPlan) compileClustering(keys []ast.Expr, bounds [][]*ast.Relation, conditions []*ast.Relation) error {
	open := true
	for i := range keys {
		switch {
		case keys[i] != nil && open:
			p.clustering = append(p.clustering, keys[i])
		case len(bounds[i]) > 0 && open:
			p.slices, open = bounds[i], false
		case keys[i] != nil || len(bounds[i]) > 0:
			return public(cql.Invalid("PRIMARY KEY column \"%s\" cannot be restricted as preceding column \"%s\" is not restricted", p.t.Clustering[i].Name, p.t.Clustering[i-1].Name))
		default:
			open = false
		}
	}
	full := len(p.clustering) == len(p.t.Clustering)
	if p.statics && len(p.clustering) == 0 && len(p.slices) == 0 && len(p.t.Clustering) > 0 {
		for _, r := range conditions {
			if c := p.t.byName[r.Columns[0].Text]; c != nil && c.Kind == regularColumn {
				return public(cql.Invalid("Some clustering keys are missing: %s", p.t.Clustering[0].Name))
			}
		}
		return nil
	}
	p.statics = false
	if len(p.slices) > 0 && !(p.remove && len(p.ops) == 0) {
		return public(cql.Invalid("Range deletions are not supported for specific columns"))
	}
	if !full && !(p.remove && len(p.ops) == 0) {
		return public(cql.Invalid("Some clustering keys are missing: %s", p.t.Clustering[len(p.clustering)].Name))
	}
	if !full && p.conditional() {
		return public(cql.Invalid("DELETE statements must restrict all PRIMARY KEY columns with equality relations in order to delete non static columns"))
	}
	return nil
}

// modification is one execution of a modifyPlan.
type modification struct {
	p         *modifyPlan
	ev        *env
	s         *Service
	at        int64 // timestamp, in microseconds
	life      engine.Life
	partition []byte
	values    [][]byte // of the primary key
	// clustering is the ordered clustering key of one row, or of a prefix.
	clustering []byte
	row        engine.Row
	static     engine.Row
	json       map[uint32]types.Value
	current    *row // what is there, when the plan reads
}

// keys evaluates the primary key.
func (m *modification) keys() error {
	p := m.p
	if p.document != nil {
		if err := m.readDocument(); err != nil {
			return err
		}
	}
	eval := func(i int, c *Column, list []ast.Expr) ([]byte, error) {
		if p.document == nil {
			return keyValue(list[i], c, m.ev)
		}
		v := m.json[c.ID]
		if v.Data == nil {
			return nil, public(cql.Invalid("Invalid null value in condition for column %s", c.Name))
		}
		return v.Data, nil
	}
	m.values = m.values[:0]
	for i, c := range p.t.Partition {
		v, err := eval(i, c, p.partition)
		if err != nil {
			return err
		}
		m.values = append(m.values, v)
	}
	var err error
	if m.partition, err = partitionPrefix(m.partition[:0], p.t, m.values); err != nil {
		return err
	}
	n := len(p.clustering)
	if p.document != nil {
		n = len(p.t.Clustering)
	}
	m.clustering = m.clustering[:0]
	for i := range n {
		c := p.t.Clustering[i]
		v, err := eval(i, c, p.clustering)
		if err != nil {
			return err
		}
		m.values = append(m.values, v)
		m.clustering = c.Type.AppendOrdered(m.clustering, v, c.Desc)
	}
	return nil
}

// maxDocument is the largest INSERT … JSON document, in bytes: Amazon Keyspaces'
// quota for a row.
const maxDocument = 1 << 20

func (m *modification) readDocument() error {
	v, err := types.Coerce(m.p.document, types.Scalar(types.Text), "[json]", &m.ev.Env)
	if err != nil {
		return err
	}
	var doc map[string]json.RawMessage
	if len(v.Data) > maxDocument || json.Unmarshal(v.Data, &doc) != nil {
		return public(cql.Invalid("Could not decode JSON string as a map"))
	}
	m.json = make(map[uint32]types.Value, len(m.p.t.Columns))
	if m.p.unset {
		for _, c := range m.p.t.Columns {
			m.json[c.ID] = types.Value{Unset: true}
		}
	}
	for k, raw := range doc {
		c := m.p.t.byName[types.JSONName(k)]
		if c == nil {
			return public(cql.Invalid("JSON values map contains unrecognized column: %s", types.JSONName(k)))
		}
		b, err := c.Type.FromJSON(raw)
		if err != nil {
			return cql.Invalid("Error decoding JSON value for %s: %s", c.Name, err.Error())
		}
		m.json[c.ID] = types.Value{Data: b}
	}
	return nil
}

// times evaluates timestamp and TTL. at holds where USING gives no timestamp.
func (m *modification) times(at int64) error {
	m.at = at
	if e := m.p.using.Timestamp; e != nil {
		v, err := types.Coerce(e, types.Scalar(types.Bigint), "[timestamp]", &m.ev.Env)
		if err != nil {
			return err
		}
		if v.Data == nil && !v.Unset {
			return public(cql.Invalid("Invalid null value of timestamp"))
		}
		if !v.Unset {
			m.at = types.Int64(v.Data)
		}
	}
	if m.at == engine.NoTimestamp {
		return public(cql.Invalid("Invalid timestamp value: %d", m.at))
	}
	m.life = engine.Life{Timestamp: m.at}
	ttl := m.p.t.Options.DefaultTTL
	if e := m.p.using.TTL; e != nil {
		v, err := types.Coerce(e, types.Scalar(types.Int), "[ttl]", &m.ev.Env)
		if err != nil {
			return err
		}
		if !v.Unset {
			ttl = int32(types.Int64(v.Data))
		}
	}
	switch {
	case ttl < 0:
		return public(cql.Invalid("A TTL must be greater or equal to 0, but was %d", ttl))
	case ttl > maxTTL:
		return public(cql.Invalid("ttl is too large. requested (%d) maximum (%d)", ttl, maxTTL))
	case ttl > 0 && !m.p.t.Counter:
		m.life.TTL, m.life.Expiry = ttl, m.ev.at.Unix()+int64(ttl)
	}
	return nil
}

// build makes the changes of rows.
func (m *modification) build() error {
	m.row.Reset()
	m.static.Reset()
	if m.p.remove && len(m.p.ops) == 0 {
		return nil
	}
	if m.p.insert && !m.p.statics {
		m.row.Marker = m.life
	}
	if m.p.document != nil {
		for _, c := range m.p.t.Columns {
			v := m.json[c.ID]
			if c.isKey() || v.Unset {
				continue
			}
			if err := m.assign(c, v.Data); err != nil {
				return err
			}
		}
	}
	for i := range m.p.ops {
		if err := m.operation(&m.p.ops[i]); err != nil {
			return err
		}
	}
	m.row.Sort()
	m.static.Sort()
	return nil
}

// write puts the changes into the batch.
func (m *modification) write(w *engine.Writer) error {
	p := m.p
	if len(m.static.Cells) > 0 {
		w.Static(m.partition, &m.static)
	}
	switch {
	case !p.remove || len(p.ops) > 0:
		if m.row.Marker.Timestamp != engine.NoTimestamp || len(m.row.Cells) > 0 {
			w.Row(m.partition, m.clustering, &m.row)
		}
	case len(p.clustering) == 0 && len(p.slices) == 0 && len(p.t.Clustering) > 0:
		w.DeletePartition(m.partition, m.at)
	case len(p.clustering) == len(p.t.Clustering):
		m.row.Deleted = m.at
		w.Row(m.partition, m.clustering, &m.row)
	default:
		r := engine.Range{From: slices.Clone(m.clustering), To: kv.PrefixEnd(m.clustering)}
		c := p.t.Clustering[len(p.clustering)]
		for _, rel := range p.slices {
			v, err := keyValue(rel.Value, c, m.ev)
			if err != nil {
				return err
			}
			at := c.Type.AppendOrdered(slices.Clone(m.clustering), v, c.Desc)
			narrowRange(&r, at, rel.Op, c.Desc)
		}
		w.DeleteRange(m.partition, r.From, r.To, m.at)
	}
	return nil
}
