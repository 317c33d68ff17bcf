package server

import (
	"fmt"
	"runtime/debug"

	"spoor/internal/cql"
	"spoor/internal/cql/ast"
	"spoor/internal/cql/frame"
	"spoor/internal/cql/parser"
)

// task is a request from its header to its response, with all the memory that it
// needs, which the next request uses again.
type task struct {
	header   frame.Header
	keyspace string // the connection's when the request was read
	body     []byte // uncompressed
	wire     []byte // as it came, when compressed
	message  []byte // the part of body after what the flags announce
	charged  int64  // of the server's budget
	// malformed is set when the message does not decode, which ends the
	// connection; a handler's protocol error does not.
	malformed bool

	query   frame.Query
	exec    frame.Execute
	batch   frame.Batch
	values  []frame.Value // put into the markers' order
	req     Request
	batchRq BatchRequest
	res     frame.Response
}

// maxKept bounds, in bytes and in items, what a task keeps for the next request.
const (
	maxKeptBytes = 64 << 10
	maxKeptItems = 1024
)

func (s *Server) release(t *task) {
	if t.charged > 0 {
		s.budget.give(t.charged)
	}
	if cap(t.body) > maxKeptBytes || cap(t.wire) > maxKeptBytes || t.res.Cap() > maxKeptBytes ||
		cap(t.query.Values) > maxKeptItems || cap(t.exec.Values) > maxKeptItems || cap(t.batch.Entries) > maxKeptItems {
		return // the garbage collector's: one large request must not make all tasks large
	}
	t.charged, t.message, t.keyspace, t.malformed = 0, nil, "", false
	t.req = Request{}
	entries := t.batchRq.Entries
	clear(entries)
	t.batchRq = BatchRequest{Entries: entries[:0]}
	s.tasks.Put(t)
}

// execute runs a statement's request and sends its response.
func (c *conn) execute(t *task) {
	t.res.Reset(t.header.Version, t.header.Stream)
	if err := c.run(t); err != nil {
		e := cql.AsError(err)
		if t.malformed {
			c.breakOff(t.header, e)
			return
		}
		if e.Code == cql.CodeServer {
			c.server.cfg.Logger.Error("executing a CQL request failed", "conn", c.info.Load().ID, "opcode", t.header.Opcode.String(), "error", err)
		}
		t.res.Reset(t.header.Version, t.header.Stream)
		t.res.Error(e)
	}
	switch t.res.Kind() {
	case frame.ResultSetKeyspace:
		keyspace := t.res.Keyspace()
		c.keyspace.Store(&keyspace)
	case frame.ResultSchemaChange:
		c.server.SchemaChanged(schemaOf(c.session), t.res.Change())
	}
	c.out.send(t.res.Finish(c.compression))
}

// run executes a request into t.res. A handler's panic is its error: the server
// goes on for the others.
func (c *conn) run(t *task) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = cql.ServerError(fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
		}
	}()
	switch t.header.Opcode {
	case frame.OpQuery:
		err = c.runQuery(t)
	case frame.OpExecute:
		err = c.runExecute(t)
	case frame.OpBatch:
		err = c.runBatch(t)
	default:
		err = c.runPrepare(t)
	}
	if err == nil && t.res.Kind() == 0 {
		err = cql.ServerError(fmt.Errorf("the handler gave no result to a %s", t.header.Opcode))
	}
	return err
}

// parse reads a statement's text, which it copies.
func (c *conn) parse(text []byte) (*ast.Parsed, error) {
	parsed, err := parser.Parse(string(text))
	if err != nil {
		c.server.reject(Rejection{Conn: c.info.Load(), Session: c.session, Reason: RejectSyntax, Err: cql.AsError(err)})
	}
	return parsed, err
}

// request fills t.req.
func (c *conn) request(t *task, st *ast.Parsed, keyspace string, p *frame.Params) *Request {
	t.req = Request{
		Conn: c.info.Load(), Session: c.session, Stream: t.header.Stream, Keyspace: keyspace, Statement: st,
		Consistency: p.Consistency, SerialConsistency: p.SerialConsistency, PageSize: p.PageSize,
		PagingState: p.PagingState, Timestamp: p.Timestamp, HasTimestamp: p.HasTimestamp,
	}
	return &t.req
}

func (c *conn) runQuery(t *task) error {
	if err := frame.DecodeQuery(t.message, t.header.Version, &t.query); err != nil {
		t.malformed = true
		return err
	}
	st, err := c.parse(t.query.Text)
	if err != nil {
		return err
	}
	if isEmptyBatch(st) {
		t.res.Void()
		return nil
	}
	req := c.request(t, st, t.keyspace, &t.query.Params)
	if req.Values, err = c.bindQuery(t, req); err != nil {
		return err
	}
	t.res.SkipMetadata(t.query.SkipMetadata)
	return c.server.cfg.Handler.Execute(c.ctx, req, &t.res)
}

// isEmptyBatch reports whether st is a batch of nothing, which succeeds: some
// clients use it to see whether the server answers.
func isEmptyBatch(st *ast.Parsed) bool {
	b, ok := st.Statement.(*ast.Batch)
	return ok && len(b.Statements) == 0
}

// bindQuery puts a QUERY's values into the order of its markers.
func (c *conn) bindQuery(t *task, req *Request) ([]frame.Value, error) {
	values, markers := t.query.Values, req.Statement.Markers
	if t.query.Named {
		names := make([]string, len(markers))
		for i, m := range markers {
			names[i] = m.Name
		}
		if hasEmpty(names) { // a ? goes by its column's name, which the schema tells
			info, err := c.server.cfg.Handler.Prepare(c.ctx, req)
			if err != nil {
				return nil, err
			}
			names = markerNames(markers, info.Bind)
		}
		values = t.reorder(values, names)
	}
	if len(values) != len(markers) {
		return nil, cql.Invalid("Invalid amount of bind variables")
	}
	return values, nil
}

func hasEmpty(names []string) bool {
	for _, n := range names {
		if n == "" {
			return true
		}
	}
	return false
}

// markerNames are the names that values are bound by: a marker's own, or its
// column's.
func markerNames(markers []*ast.BindMarker, bind []frame.ColumnSpec) []string {
	names := make([]string, len(markers))
	for i, m := range markers {
		if names[i] = m.Name; m.Name == "" && i < len(bind) {
			names[i] = bind[i].Name
		}
	}
	return names
}

// reorder gives for each name the value of that name; fewer when one is missing.
func (t *task) reorder(values []frame.Value, names []string) []frame.Value {
	t.values = t.values[:0]
	for _, name := range names {
		for i := range values {
			if string(values[i].Name) == name {
				t.values = append(t.values, values[i])
				break
			}
		}
	}
	return t.values
}

// maxPrepareTries is how often a statement is prepared anew because the schema
// changed meanwhile.
const maxPrepareTries = 8

func (c *conn) runPrepare(t *task) error {
	text, perr := frame.DecodePrepare(t.message)
	if perr != nil {
		t.malformed = true
		return perr
	}
	st, err := c.parse(text)
	if err != nil {
		return err
	}
	req := c.request(t, st, t.keyspace, &frame.Params{Consistency: cql.One, SerialConsistency: cql.Serial})
	cache := c.server.prepared
	for range maxPrepareTries {
		generation := cache.generation.Load()
		var info PreparedInfo
		if !isEmptyBatch(st) {
			if info, err = c.server.cfg.Handler.Prepare(c.ctx, req); err != nil {
				return err
			}
		}
		if len(info.Bind) != len(st.Markers) {
			return cql.ServerError(fmt.Errorf("the handler described %d of %d bind markers", len(info.Bind), len(st.Markers)))
		}
		p := &Prepared{
			ID: statementID(t.keyspace, st.Text), Keyspace: t.keyspace, Statement: st, Info: info,
			bind: frame.NewMetadata(info.Bind), tables: ast.Tables(st.Statement, t.keyspace),
			names: markerNames(st.Markers, info.Bind),
		}
		if info.Plan != nil {
			p.SetPlan(info.Plan)
		}
		current, e := cache.put(p, generation)
		if e != nil {
			return e
		}
		if current {
			t.res.Prepared(p.ID[:], p.bind, info.PartitionKey, info.Result)
			return nil
		}
	}
	return cql.Overloaded("The schema keeps changing while the statement is prepared")
}

func (c *conn) runExecute(t *task) error {
	if err := frame.DecodeExecute(t.message, t.header.Version, &t.exec); err != nil {
		t.malformed = true
		return err
	}
	p, perr := c.server.prepared.get(t.exec.ID)
	if perr != nil {
		return perr
	}
	if isEmptyBatch(p.Statement) {
		t.res.Void()
		return nil
	}
	req := c.request(t, p.Statement, p.Keyspace, &t.exec.Params)
	req.Prepared = p
	req.Values = t.exec.Values
	if t.exec.Named {
		req.Values = t.reorder(t.exec.Values, p.names)
	}
	if err := checkCount(req.Values, p); err != nil {
		return err
	}
	t.res.SkipMetadata(t.exec.SkipMetadata)
	return c.server.cfg.Handler.Execute(c.ctx, req, &t.res)
}

func checkCount(values []frame.Value, p *Prepared) error {
	if markers := len(p.Statement.Markers); len(values) != markers {
		return cql.Invalid("there were %d markers(?) in CQL but %d bound variables", markers, len(values))
	}
	return nil
}

func (c *conn) runBatch(t *task) error {
	if err := frame.DecodeBatch(t.message, t.header.Version, &t.batch); err != nil {
		t.malformed = true
		return err
	}
	b := &t.batch
	if len(b.Entries) == 0 {
		t.res.Void()
		return nil
	}
	entries := t.batchRq.Entries[:0]
	for i := range b.Entries {
		e, err := c.batchEntry(t, &b.Entries[i])
		if err != nil {
			return err
		}
		entries = append(entries, e)
	}
	t.batchRq = BatchRequest{
		Conn: c.info.Load(), Session: c.session, Stream: t.header.Stream, Keyspace: t.keyspace,
		Kind: ast.BatchKind(b.Kind), Entries: entries, Consistency: b.Consistency,
		SerialConsistency: b.SerialConsistency, Timestamp: b.Timestamp, HasTimestamp: b.HasTimestamp,
	}
	return c.server.cfg.Handler.ExecuteBatch(c.ctx, &t.batchRq, &t.res)
}

func (c *conn) batchEntry(t *task, in *frame.BatchEntry) (BatchEntry, error) {
	e := BatchEntry{Keyspace: t.keyspace, Values: in.Values}
	if in.ID != nil {
		p, err := c.server.prepared.get(in.ID)
		if err != nil {
			return e, err
		}
		e.Statement, e.Prepared, e.Keyspace = p.Statement, p, p.Keyspace
	} else {
		st, err := c.parse(in.Text)
		if err != nil {
			return e, err
		}
		e.Statement = st
	}
	switch e.Statement.Statement.(type) {
	case *ast.Insert, *ast.Update, *ast.Delete:
	default:
		return e, cql.Invalid("Invalid statement in batch: only UPDATE, INSERT and DELETE statements are allowed.")
	}
	if markers := len(e.Statement.Markers); len(e.Values) != markers {
		return e, cql.Invalid("There were %d markers(?) in CQL but %d bound variables", markers, len(e.Values))
	}
	return e, nil
}
