package keyspaces

import (
	"bytes"
	"context"
	"encoding/binary"

	"spoor/internal/cql"
	"spoor/internal/cql/ast"
	"spoor/internal/cql/frame"
	"spoor/internal/cql/types"
	engine "spoor/internal/engine/pebble"
)

// selectPlan is a compiled SELECT. It does not change and is shared.
type selectPlan struct {
	t         *Table
	stmt      *ast.Select
	where     *where
	selectors []selector
	meta      *frame.Metadata
	json      []selector // SELECT JSON: what the document is made of
	aggregate bool
	reverse   bool
	statics   bool // static columns are asked for
}

func compileSelect(t *Table, s *ast.Select) (*selectPlan, error) {
	p := &selectPlan{t: t, stmt: s}
	if len(s.GroupBy) > 0 {
		return nil, public(cql.Invalid("GROUP BY is not supported."))
	}
	if err := p.compileSelectors(); err != nil {
		return nil, err
	}
	var err error
	if p.where, err = compileWhere(t, s.Where); err != nil {
		return nil, err
	}
	if p.where.needsFiltering != nil && !s.AllowFiltering && !t.system {
		return nil, p.where.needsFiltering
	}
	if err := p.compileOrder(); err != nil {
		return nil, err
	}
	if s.Distinct {
		for _, x := range p.selectors {
			if x.col == nil || x.col.Kind != partitionKey && x.col.Kind != staticColumn {
				return nil, public(cql.Invalid("SELECT DISTINCT queries must only request partition key columns and/or static columns (not %s)", x.name))
			}
		}
		if p.where.restricted {
			return nil, public(cql.Invalid("SELECT DISTINCT with WHERE clause only supports restriction by partition key and/or static columns."))
		}
	}
	return p, nil
}

func (p *selectPlan) compileSelectors() error {
	t, s := p.t, p.stmt
	for _, c := range t.Columns {
		if len(s.Selectors) == 0 {
			p.selectors = append(p.selectors, plainSelector(c))
		}
	}
	aggregates := 0
	for _, sel := range s.Selectors {
		x, err := compileSelector(t, sel.Expr)
		if err != nil {
			return err
		}
		if sel.Alias != "" {
			x.name = sel.Alias
		}
		if x.agg != nil {
			aggregates++
		}
		p.selectors = append(p.selectors, x)
	}
	p.aggregate = aggregates > 0
	p.statics = len(s.Selectors) == 0 || s.Distinct
	for _, x := range p.selectors {
		p.statics = p.statics || x.col == nil || x.col.Kind == staticColumn
	}
	if s.JSON {
		p.json = p.selectors
		p.selectors = []selector{{name: "[json]", typ: types.Scalar(types.Text), eval: p.document}}
		if p.aggregate {
			return public(cql.Invalid("Aggregate functions cannot be used with SELECT JSON"))
		}
	}
	specs := make([]frame.ColumnSpec, len(p.selectors))
	for i, x := range p.selectors {
		specs[i] = frame.ColumnSpec{Keyspace: t.Keyspace, Table: t.Name, Name: x.name, Type: x.typ}
	}
	p.meta = frame.NewMetadata(specs)
	return nil
}

// document makes the JSON document of a row.
func (p *selectPlan) document(e *env, r *row) ([]byte, error) {
	b := []byte{'{'}
	for i, x := range p.json {
		if i > 0 {
			b = append(b, ", "...)
		}
		v, err := x.eval(e, r)
		if err != nil {
			return nil, err
		}
		b = append(types.AppendJSONName(b, x.name), ": "...)
		b = x.typ.AppendJSON(b, v)
	}
	return append(b, '}'), nil
}

func (p *selectPlan) compileOrder() error {
	order := p.stmt.OrderBy
	if len(order) == 0 || p.t.system {
		return nil
	}
	if !p.where.complete {
		return public(cql.Invalid("ORDER BY is only supported when the partition key is restricted by an EQ or an IN."))
	}
	for i, o := range order {
		c := p.t.byName[o.Column.Text]
		switch {
		case c == nil:
			return undefined(o.Column.Text)
		case c.Kind != clusteringKey:
			return public(cql.Invalid("Order by is currently only supported on the clustered columns of the PRIMARY KEY, got %s", c.Name))
		case c.Pos != i:
			return public(cql.Invalid("Order by currently only supports the ordering of columns following their declared order in the PRIMARY KEY"))
		}
		reverse := c.Desc != o.Desc
		if i > 0 && reverse != p.reverse {
			return public(cql.Invalid("Unsupported order by relation"))
		}
		p.reverse = reverse
	}
	return nil
}

// Limits on a result's size, in bytes.
const (
	maxPageBytes   = 1 << 20 // a page ends there (Amazon Keyspaces, "Paginate results")
	maxResultBytes = 128 << 20
)

// pageState is where a SELECT goes on.
type pageState struct {
	left  int64 // of LIMIT; 0 when there is none
	inKey int64 // rows given of the last partition
	after []byte
}

// The format of a paging state, version 1: version byte, rest of LIMIT, rows of
// the last partition, storage key of the last row. It only says where in the
// table that the statement names to go on; the bounds are the statement's.
const pageVersion = 1

func (s *pageState) append(dst []byte) []byte {
	dst = append(dst, pageVersion)
	dst = binary.AppendUvarint(dst, uint64(s.left))
	dst = binary.AppendUvarint(dst, uint64(s.inKey))
	return append(dst, s.after...)
}

func (p *selectPlan) decodeState(b []byte) (pageState, error) {
	bad := cql.ProtocolError("Invalid value for the paging state")
	if len(b) < 3 || b[0] != pageVersion {
		return pageState{}, bad
	}
	left, n := binary.Uvarint(b[1:])
	if n <= 0 {
		return pageState{}, bad
	}
	b = b[1+n:]
	in, n := binary.Uvarint(b)
	if n <= 0 || left > 1<<31 || in > 1<<31 || !bytes.HasPrefix(b[n:], engine.AppendTable(nil, p.t.ID)) {
		return pageState{}, bad
	}
	return pageState{left: int64(left), inKey: int64(in), after: append([]byte(nil), b[n:]...)}, nil
}

// selection is one execution of a selectPlan.
type selection struct {
	p       *selectPlan
	ev      *env
	res     *frame.Response
	row     row
	tests   []test
	aggs    []*aggregate
	first   [][]byte // of an aggregate: the other selectors' values of the first row
	state   pageState
	perKey  int64 // PER PARTITION LIMIT, or 0
	page    int   // rows of a page, or 0
	rows    int
	more    bool
	lastKey []byte // the partition of the last row
	after   []byte // the memory of state.after, once a row has been given
}

func (p *selectPlan) run(ctx context.Context, s *Service, ev *env, req *request, res *frame.Response) error {
	x := &selection{p: p, ev: ev, res: res, row: row{t: p.t, now: ev.at.Unix()}}
	var err error
	if x.tests, err = compileTests(p.t, p.relations(), ev, false); err != nil {
		return err
	}
	if x.state.left, err = limitValue(p.stmt.Limit, "limit", ev); err != nil {
		return err
	}
	if x.perKey, err = limitValue(p.stmt.PerPartitionLimit, "per_partition_limit", ev); err != nil {
		return err
	}
	if p.stmt.Distinct {
		x.perKey = 1
	}
	limit := x.state.left
	if len(req.pagingState) > 0 {
		if x.state, err = p.decodeState(req.pagingState); err != nil {
			return err
		}
	}
	x.page = int(req.pageSize)
	if p.aggregate {
		x.page, x.state.left = 0, 0
		for _, sel := range p.selectors {
			if sel.agg != nil {
				x.aggs = append(x.aggs, sel.agg())
			} else {
				x.aggs = append(x.aggs, nil)
			}
		}
	}
	res.Rows(p.meta)
	if p.t.system {
		err = x.system(req.reader(s))
	} else {
		err = x.scan(ctx, s)
	}
	if err != nil {
		return err
	}
	if p.aggregate {
		x.endAggregate()
		return nil
	}
	if x.more && !(limit > 0 && x.state.left == 0) {
		res.PagingState(x.state.append(nil))
	}
	return nil
}

// relations are what is judged on each row.
func (p *selectPlan) relations() []*ast.Relation {
	if p.t.system {
		return p.stmt.Where
	}
	return p.where.filters
}

func (x *selection) system(r *reader) error {
	for _, values := range r.rows(x.p.t) {
		x.row.values = values
		next, err := x.take(nil)
		if err != nil || next == engine.Stop {
			return err
		}
	}
	return nil
}

func (x *selection) scan(ctx context.Context, s *Service) error {
	p := x.p
	q := engine.Query{Now: x.row.now, Reverse: p.reverse, After: x.state.after}
	take := func(r *engine.Result) (engine.Next, error) { return x.result(r) }
	if !p.where.complete {
		var ok bool
		var err error
		if q.From, q.To, ok, err = p.where.span(x.ev); err != nil || !ok {
			return err
		}
		return engine.Scan(ctx, s.store, q, take)
	}
	parts, err := p.where.partitions(x.ev)
	if err != nil {
		return err
	}
	if q.Ranges, err = p.where.ranges(x.ev); err != nil {
		return err
	}
	if q.After != nil {
		at := -1
		for i, part := range parts {
			if bytes.HasPrefix(q.After, part) {
				at = i
			}
		}
		if at < 0 {
			return cql.ProtocolError("Invalid value for the paging state")
		}
		parts = parts[at:]
	}
	stopped := false
	for i, part := range parts {
		if q.Partition = part; i > 0 {
			q.After = nil
		}
		err := engine.Scan(ctx, s.store, q, func(r *engine.Result) (engine.Next, error) {
			next, err := x.result(r)
			stopped = next == engine.Stop
			return next, err
		})
		if err != nil || stopped {
			return err
		}
	}
	return nil
}

func (x *selection) result(r *engine.Result) (engine.Next, error) {
	if r.Clustering == nil && (x.p.where.restricted || !x.p.statics) && len(x.p.t.Clustering) > 0 {
		return engine.Continue, nil // static columns alone make no row here
	}
	if err := x.row.reset(r); err != nil {
		return engine.Stop, err
	}
	return x.take(r)
}

// take judges and gives one row.
func (x *selection) take(r *engine.Result) (engine.Next, error) {
	for i := range x.tests {
		if ok, err := x.tests[i].holds(&x.row); err != nil || !ok {
			return engine.Continue, err
		}
	}
	other := r != nil && x.perKey > 0 && x.otherPartition(r)
	if r != nil && x.perKey > 0 && !other && x.state.inKey >= x.perKey {
		return engine.NextPartition, nil
	}
	if x.page > 0 && r != nil && x.rows > 0 && (x.rows >= x.page || x.res.Size() >= maxPageBytes) {
		x.more = true // the row that shows it is read again by the next page
		return engine.Stop, nil
	}
	if other { // not before: a page that ends here counts in the partition before
		x.state.inKey = 0
	}
	if r != nil && x.perKey > 0 {
		x.lastKey = append(x.lastKey[:0], r.Partition...)
	}
	if x.p.aggregate {
		x.state.inKey++
		return engine.Continue, x.accumulate()
	}
	if err := x.emit(); err != nil {
		return engine.Stop, err
	}
	x.rows++
	if x.page > 0 && r != nil {
		x.state.after = append(x.after[:0], r.Key...)
		x.after = x.state.after
	}
	if x.res.Size() > maxResultBytes {
		return engine.Stop, cql.Overloaded("The result is larger than %d bytes; use paging", maxResultBytes)
	}
	x.state.inKey++
	if x.state.left > 0 {
		if x.state.left--; x.state.left == 0 {
			return engine.Stop, nil
		}
	}
	return engine.Continue, nil
}

// otherPartition reports whether r is in another partition than the row before
// it, be that the last one of the page before.
func (x *selection) otherPartition(r *engine.Result) bool {
	if x.lastKey != nil || x.state.after == nil {
		return !bytes.Equal(x.lastKey, r.Partition)
	}
	return !bytes.HasPrefix(x.state.after, engine.AppendPartition(nil, x.p.t.ID, r.Token, r.Partition))
}

func (x *selection) emit() error {
	for i := range x.p.selectors {
		sel := &x.p.selectors[i]
		var v []byte
		var err error
		if sel.col != nil {
			v, err = x.row.value(sel.col)
		} else {
			v, err = sel.eval(x.ev, &x.row)
		}
		if err != nil {
			return err
		}
		x.res.Cell(v)
	}
	x.res.EndRow()
	return nil
}

func (x *selection) accumulate() error {
	for i := range x.p.selectors {
		v, err := x.p.selectors[i].eval(x.ev, &x.row)
		if err != nil {
			return err
		}
		if a := x.aggs[i]; a != nil {
			a.add(v)
		} else if len(x.first) <= i {
			for len(x.first) < i {
				x.first = append(x.first, nil)
			}
			if v != nil {
				v = append([]byte{}, v...)
			}
			x.first = append(x.first, v)
		}
	}
	return nil
}

func (x *selection) endAggregate() {
	for i, a := range x.aggs {
		switch {
		case a != nil:
			x.res.Cell(a.result())
		case i < len(x.first):
			x.res.Cell(x.first[i])
		default:
			x.res.Null()
		}
	}
	x.res.EndRow()
}
