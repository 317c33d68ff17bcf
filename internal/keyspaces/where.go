package keyspaces

import (
	"bytes"
	"slices"

	"spoor/internal/cql"
	"spoor/internal/cql/ast"
	"spoor/internal/cql/types"
	engine "spoor/internal/engine/pebble"
	"spoor/internal/kv"
)

// maxSubqueries is how many combinations IN may ask for (Amazon Keyspaces,
// "Functional differences", IN).
const maxSubqueries = 100

// where is a compiled WHERE clause.
type where struct {
	t *Table
	// partition holds for each partition key column its = or IN; complete says
	// that there is one for each.
	partition []*ast.Relation
	complete  bool
	// clustering holds the = and IN of a prefix of the clustering key, slices
	// what bounds the column behind them.
	clustering []*ast.Relation
	slices     []*ast.Relation
	tokens     []*ast.Relation
	// filters are judged on each row.
	filters []*ast.Relation
	// needsFiltering is the complaint when ALLOW FILTERING is missing.
	needsFiltering error
	restricted     bool // some clustering or regular column is
}

func undefined(name string) error { return public(cql.Invalid("Undefined column name %s", name)) }

var errFiltering = cql.Invalid("Cannot execute this query as it might involve data filtering and thus may have unpredictable performance. " +
	"If you want to execute this query despite the performance unpredictability, use ALLOW FILTERING")

// compileWhere sorts out what each relation of a SELECT restricts.
func compileWhere(t *Table, rels []*ast.Relation) (*where, error) {
	w := &where{t: t, partition: make([]*ast.Relation, len(t.Partition))}
	byClustering := make([][]*ast.Relation, len(t.Clustering))
	for _, r := range rels {
		for _, n := range r.Columns {
			if t.byName[n.Text] == nil {
				return nil, undefined(n.Text)
			}
		}
		switch r.Op {
		case ast.OpNe, ast.OpLike, ast.OpIsNotNull:
			return nil, public(cql.Invalid("Unsupported restriction: %s", r.Op))
		}
		if r.Kind == ast.TokenRelation {
			if err := w.token(r); err != nil {
				return nil, err
			}
			continue
		}
		c := t.byName[r.Columns[0].Text]
		switch {
		case r.Kind == ast.TupleRelation:
			if err := w.tuple(r, byClustering); err != nil {
				return nil, err
			}
		case r.Kind == ast.ColumnRelation && c.Kind == partitionKey && (r.Op == ast.OpEq || r.Op == ast.OpIn):
			if w.partition[c.Pos] != nil {
				return nil, public(cql.Invalid("%s cannot be restricted by more than one relation if it includes an Equal", c.Name))
			}
			w.partition[c.Pos] = r
		case r.Kind == ast.ColumnRelation && c.Kind == clusteringKey && r.Op != ast.OpContains && r.Op != ast.OpContainsKey:
			byClustering[c.Pos] = append(byClustering[c.Pos], r)
		default:
			if c.Kind == partitionKey {
				w.need(public(cql.Invalid("Only EQ and IN relation are supported on the partition key (unless you use the token() function)")))
			}
			w.filter(r)
		}
		w.restricted = w.restricted || c.Kind != partitionKey && c.Kind != staticColumn
	}
	w.finishPartition()
	return w, w.finishClustering(byClustering)
}

func (w *where) need(err error) {
	if w.needsFiltering == nil {
		w.needsFiltering = err
	}
}

func (w *where) filter(r *ast.Relation) {
	w.filters = append(w.filters, r)
	w.need(public(errFiltering))
}

func (w *where) token(r *ast.Relation) error {
	same := len(r.Columns) == len(w.t.Partition)
	for i, n := range r.Columns {
		same = same && w.t.Partition[i].Name == n.Text
	}
	if !same {
		return public(cql.Invalid("The token function arguments must be in the partition key order: %s", columnList(w.t.Partition)))
	}
	if r.Op == ast.OpIn {
		return public(cql.Invalid("IN cannot be used with the token function"))
	}
	w.tokens = append(w.tokens, r)
	return nil
}

func columnList(list []*Column) string {
	var b []byte
	for i, c := range list {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(b, c.Name...)
	}
	return string(b)
}

func (w *where) tuple(r *ast.Relation, byClustering [][]*ast.Relation) error {
	first := w.t.byName[r.Columns[0].Text]
	for i, n := range r.Columns {
		c := w.t.byName[n.Text]
		if c.Kind != clusteringKey {
			return public(cql.Invalid("Multi-column relations can only be applied to clustering columns but was applied to: %s", c.Name))
		}
		if c.Pos != first.Pos+i {
			return public(cql.Invalid("Clustering columns must appear in the PRIMARY KEY order in multi-column relations: %s", ast.String(r)))
		}
	}
	// The first column bounds the scan; the relation itself is judged on the rows.
	byClustering[first.Pos] = append(byClustering[first.Pos], r)
	w.filters = append(w.filters, r)
	return nil
}

func (w *where) finishPartition() {
	n := 0
	missing := ""
	for i, r := range w.partition {
		if r != nil {
			n++
		} else if missing == "" {
			missing = w.t.Partition[i].Name
		}
	}
	if w.complete = n == len(w.partition) && len(w.tokens) == 0; w.complete || n == 0 {
		return
	}
	if n < len(w.partition) {
		w.need(public(cql.Invalid("Partition key parts: %s must be restricted as other parts are", missing)))
	}
	for i, r := range w.partition {
		if r != nil {
			w.filters = append(w.filters, r)
			w.partition[i] = nil
		}
	}
}

// finishClustering makes ranges of what restricts a prefix of the clustering
// key, and filters of the rest.
func (w *where) finishClustering(byClustering [][]*ast.Relation) error {
	open, gap := w.complete, ""
	for i, rels := range byClustering {
		c := w.t.Clustering[i]
		for _, r := range rels {
			if len(rels) > 1 && r.Kind == ast.ColumnRelation && (r.Op == ast.OpEq || r.Op == ast.OpIn) {
				return public(cql.Invalid("%s cannot be restricted by more than one relation if it includes an Equal", c.Name))
			}
		}
		switch {
		case len(rels) == 0:
			if open && gap == "" {
				gap = c.Name
			}
			open = false
		case !open:
			switch {
			case !w.complete:
				w.need(public(errFiltering))
			case gap != "":
				w.need(public(cql.Invalid("PRIMARY KEY column \"%s\" cannot be restricted as preceding column \"%s\" is not restricted", c.Name, gap)))
			default:
				w.need(public(cql.Invalid("Clustering column \"%s\" cannot be restricted (preceding column \"%s\" is restricted by a non-EQ relation)", c.Name, w.t.Clustering[i-1].Name)))
			}
			for _, r := range rels {
				if r.Kind != ast.TupleRelation { // those are filters already
					w.filters = append(w.filters, r)
				}
			}
		case len(rels) == 1 && rels[0].Kind == ast.ColumnRelation && (rels[0].Op == ast.OpEq || rels[0].Op == ast.OpIn):
			w.clustering = append(w.clustering, rels[0])
		default:
			w.slices = rels
			open = false
			// A tuple restricts the columns behind its first one itself.
			for _, r := range rels {
				if r.Kind == ast.TupleRelation {
					open, gap = false, ""
				}
			}
		}
	}
	return nil
}

// value evaluates a relation's constant for a key column, which must be there.
func keyValue(e ast.Expr, c *Column, ev *env) ([]byte, error) {
	v, err := types.Coerce(e, c.Type, c.Name, &ev.Env)
	switch {
	case err != nil:
		return nil, err
	case v.Unset:
		return nil, public(cql.Invalid("Invalid unset value for column %s", c.Name))
	case v.Data == nil:
		return nil, public(cql.Invalid("Invalid null value in condition for column %s", c.Name))
	case len(v.Data) > types.MaxKeyComponent:
		return nil, public(cql.Invalid("Key length of %d is longer than maximum of %d", len(v.Data), types.MaxKeyComponent))
	}
	return v.Data, nil
}

// keyValues evaluates = or IN for a key column. The values of IN keep their
// order, without duplicates.
func keyValues(r *ast.Relation, c *Column, ev *env) ([][]byte, error) {
	if r.Op != ast.OpIn {
		v, err := keyValue(r.Value, c, ev)
		return [][]byte{v}, err
	}
	list, err := inValues(r, c.Type, c.Name, ev)
	if err != nil {
		return nil, err
	}
	var out [][]byte
	for _, v := range list {
		if v == nil {
			return nil, public(cql.Invalid("Invalid null value in condition for column %s", c.Name))
		}
		if !slices.ContainsFunc(out, func(o []byte) bool { return bytes.Equal(o, v) }) {
			out = append(out, v)
		}
	}
	return out, nil
}

func inValues(r *ast.Relation, t *types.Type, name string, ev *env) ([][]byte, error) {
	if r.List == nil {
		list := types.ListOf(t)
		v, err := types.Coerce(r.Value, list, "in("+name+")", &ev.Env)
		if err != nil {
			return nil, err
		}
		if v.Data == nil {
			return nil, public(cql.Invalid("Invalid null value for IN restriction"))
		}
		return list.Parts(v.Data)
	}
	out := make([][]byte, 0, len(r.List))
	for _, e := range r.List {
		v, err := types.Coerce(e, t, name, &ev.Env)
		if err != nil {
			return nil, err
		}
		if v.Unset {
			return nil, public(cql.Invalid("Invalid unset value for column %s", name))
		}
		out = append(out, v.Data)
	}
	return out, nil
}

// partitions gives the storage prefixes of the partitions that WHERE names.
func (w *where) partitions(ev *env) ([][]byte, error) {
	keys := [][][]byte{nil}
	for i, r := range w.partition {
		values, err := keyValues(r, w.t.Partition[i], ev)
		if err != nil {
			return nil, err
		}
		if len(keys)*len(values) > maxSubqueries {
			return nil, public(cql.Invalid("IN asks for more than %d combinations of partition keys", maxSubqueries))
		}
		var next [][][]byte
		for _, k := range keys {
			for _, v := range values {
				next = append(next, append(k[:len(k):len(k)], v))
			}
		}
		keys = next
	}
	out := make([][]byte, len(keys))
	for i, k := range keys {
		p, err := partitionPrefix(nil, w.t, k)
		if err != nil {
			return nil, err
		}
		out[i] = p
	}
	return out, nil
}

// partitionPrefix appends where a partition is in the store.
func partitionPrefix(dst []byte, t *Table, parts [][]byte) ([]byte, error) {
	key := parts[0]
	if len(parts) > 1 {
		key = joinKey(make([]byte, 0, 128), parts)
	}
	switch {
	case len(key) == 0:
		return nil, public(cql.Invalid("Key may not be empty"))
	case len(key) > types.MaxKeyComponent:
		return nil, public(cql.Invalid("Key length of %d is longer than maximum of %d", len(key), types.MaxKeyComponent))
	}
	return engine.AppendPartition(dst, t.ID, types.Token(key), key), nil
}

// ranges gives the clustering ranges that WHERE leaves, in order; nil for all.
func (w *where) ranges(ev *env) ([]engine.Range, error) {
	if len(w.clustering) == 0 && len(w.slices) == 0 {
		return nil, nil
	}
	prefixes := [][]byte{{}}
	for i, r := range w.clustering {
		c := w.t.Clustering[i]
		values, err := keyValues(r, c, ev)
		if err != nil {
			return nil, err
		}
		if len(prefixes)*len(values) > maxSubqueries {
			return nil, public(cql.Invalid("IN asks for more than %d combinations of clustering keys", maxSubqueries))
		}
		next := make([][]byte, 0, len(values))
		for _, p := range prefixes {
			for _, v := range values {
				next = append(next, c.Type.AppendOrdered(p[:len(p):len(p)], v, c.Desc))
			}
		}
		prefixes = next
	}
	slices.SortFunc(prefixes, bytes.Compare)
	out := make([]engine.Range, 0, len(prefixes))
	for _, p := range prefixes {
		r := engine.Range{From: p, To: kv.PrefixEnd(p)}
		for _, rel := range w.slices {
			if err := w.bound(&r, p, rel, ev); err != nil {
				return nil, err
			}
		}
		out = append(out, r)
	}
	return out, nil
}

// bound narrows r by a relation on the column behind the prefix. Of a tuple its
// first component counts, and inclusively.
func (w *where) bound(r *engine.Range, prefix []byte, rel *ast.Relation, ev *env) error {
	c := w.t.Clustering[len(w.clustering)]
	value, op := rel.Value, rel.Op
	if rel.Kind == ast.TupleRelation {
		l, ok := rel.Value.(*ast.TupleLiteral)
		if !ok || op == ast.OpIn || len(l.Items) == 0 {
			return nil // the filter judges
		}
		value = l.Items[0]
		switch op {
		case ast.OpLt:
			op = ast.OpLe
		case ast.OpGt:
			op = ast.OpGe
		}
	}
	v, err := keyValue(value, c, ev)
	if err != nil {
		return err
	}
	at := c.Type.AppendOrdered(prefix[:len(prefix):len(prefix)], v, c.Desc)
	narrowRange(r, at, op, c.Desc)
	return nil
}

func narrowRange(r *engine.Range, at []byte, op ast.Operator, desc bool) {
	if desc {
		op = map[ast.Operator]ast.Operator{ast.OpLt: ast.OpGt, ast.OpLe: ast.OpGe, ast.OpGt: ast.OpLt, ast.OpGe: ast.OpLe, ast.OpEq: ast.OpEq}[op]
	}
	from, to := r.From, r.To
	if op == ast.OpGe || op == ast.OpEq {
		from = at
	}
	if op == ast.OpGt {
		from = kv.PrefixEnd(at)
	}
	if op == ast.OpLt {
		to = at
	}
	if op == ast.OpLe || op == ast.OpEq {
		to = kv.PrefixEnd(at)
	}
	if bytes.Compare(from, r.From) > 0 {
		r.From = from
	}
	if r.To == nil || to != nil && bytes.Compare(to, r.To) < 0 {
		r.To = to
	}
}

// span gives the key range of a scan over partitions, narrowed by token(); ok is
// false when nothing can be in it.
func (w *where) span(ev *env) (from, to []byte, ok bool, err error) {
	table := engine.AppendTable(nil, w.t.ID)
	from, to = table, kv.PrefixEnd(table)
	for _, r := range w.tokens {
		v, err := types.Coerce(r.Value, types.Scalar(types.Bigint), "partition key token", &ev.Env)
		if err != nil {
			return nil, nil, false, err
		}
		if v.Data == nil {
			return nil, nil, false, public(cql.Invalid("Invalid null token value"))
		}
		at := engine.AppendToken(nil, w.t.ID, types.Int64(v.Data))
		rng := engine.Range{From: from, To: to}
		narrowRange(&rng, at, r.Op, false)
		from, to = rng.From, rng.To
	}
	return from, to, bytes.Compare(from, to) < 0, nil
}
