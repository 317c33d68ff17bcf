package keyspaces

import (
	"context"
	"time"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/cql"
	"spoor/internal/cql/ast"
	"spoor/internal/cql/frame"
	"spoor/internal/cql/server"
	"spoor/internal/cql/types"
	"spoor/internal/record"
)

// request is what a call carries beside its statements.
type request struct {
	conn         *server.ConnInfo
	session      *Session
	pageSize     int32
	pagingState  []byte
	timestamp    int64
	hasTimestamp bool
}

// statement is one statement of a call.
type statement struct {
	stmt     ast.Statement
	text     string
	prepared *server.Prepared
	keyspace string // its table's, or the one that a schema statement is about
	name     string // its table's or type's; empty for a keyspace
	env      env
	table    *Table // nil when it does not exist
	arn      string // made when first asked for
}

// plan is what is cached with a prepared statement; it holds as long as the
// table is the same.
type plan struct {
	table  *Table
	arn    string
	modify *modifyPlan
	query  *selectPlan
}

// step is one CQL call on its path.
type step struct {
	s       *Service
	c       call.Call
	req     request
	list    []statement
	batch   *ast.BatchKind
	using   ast.Using // of BEGIN BATCH
	res     *frame.Response
	mods    []*modification
	mod     modification // of the only statement
	schema  *Schema
	current string    // the connection's keyspace
	mask    [2][]byte // memory of the describer
}

func (s *Service) begin(conn *server.ConnInfo, session server.Session, keyspace string, res *frame.Response) (*step, error) {
	sess, ok := session.(*Session)
	if !ok {
		return nil, cql.Unauthorized("You have not logged in")
	}
	st, ok := s.steps.Get().(*step)
	if !ok {
		st = &step{s: s}
	}
	info := sess.connection(conn)
	st.req = request{conn: conn, session: sess}
	st.res, st.current, st.batch, st.list, st.using = res, keyspace, nil, st.list[:0], ast.Using{}
	st.schema = s.space(owner{sess.Account, sess.Region}).schema.Load()
	st.c = call.Call{RequestID: call.NewID(), EventID: call.NewID(), Region: sess.Region, AccountID: sess.Account,
		Caller: sess.Caller, Identity: sess.Identity, Start: s.now(), SourceIP: info.sourceIP, UserAgent: info.userAgent, TLS: info.tls}
	return st, nil
}

// end gives the step's memory back.
func (st *step) end() {
	clear(st.list)
	clear(st.mods)
	st.c, st.req, st.res, st.schema, st.mods = call.Call{}, request{}, nil, nil, st.mods[:0]
	clear(st.mod.values[:cap(st.mod.values)])
	st.mod = modification{partition: st.mod.partition[:0], values: st.mod.values[:0], clustering: st.mod.clustering[:0], row: st.mod.row, static: st.mod.static}
	st.s.steps.Put(st)
}

// add adds a statement. keyspace is the one for names without any.
func (st *step) add(stmt ast.Statement, text string, p *server.Prepared, keyspace string, values []frame.Value) {
	x := statement{stmt: stmt, text: text, prepared: p}
	x.keyspace, x.name = target(stmt)
	if x.keyspace == "" {
		x.keyspace = keyspace
	}
	x.table = st.s.table(st.schema, x.keyspace, x.name)
	x.env = env{svc: st.s, t: x.table, at: st.c.Start}
	x.env.Values = values
	st.list = append(st.list, x)
}

// bindEnv connects the functions to their statement; the statement must not
// move any more.
func (st *step) bindEnv() {
	for i := range st.list {
		e := &st.list[i].env
		e.Functions = e
	}
}

// table finds a table, the system's included.
func (s *Service) table(schema *Schema, keyspace, name string) *Table {
	if isSystem(keyspace) {
		return systemTable(keyspace, name)
	}
	return schema.table(keyspace, name)
}

// target gives the keyspace and the object that a statement is about.
func target(stmt ast.Statement) (keyspace, name string) {
	var q ast.QualifiedName
	switch s := stmt.(type) {
	case *ast.CreateKeyspace:
		return s.Name, ""
	case *ast.AlterKeyspace:
		return s.Name, ""
	case *ast.DropKeyspace:
		return s.Name, ""
	case *ast.Use:
		return s.Keyspace, ""
	case *ast.CreateTable:
		q = s.Table
	case *ast.AlterTable:
		q = s.Table
	case *ast.DropTable:
		q = s.Table
	case *ast.RestoreTable:
		q = s.Target
	case *ast.Truncate:
		q = s.Table
	case *ast.CreateType:
		q = s.Type
	case *ast.AlterType:
		q = s.Type
	case *ast.DropType:
		q = s.Type
	case *ast.CreateIndex:
		q = s.Table
	case *ast.DropIndex:
		q = s.Index
	case *ast.CreateView:
		q = s.Base
	case *ast.AlterView:
		q = s.View
	case *ast.DropView:
		q = s.View
	case *ast.Select:
		q = s.Table
	case *ast.Insert:
		q = s.Table
	case *ast.Update:
		q = s.Table
	case *ast.Delete:
		q = s.Table
	}
	return q.Keyspace, q.Name
}

// Execute executes one statement; see server.Handler.
func (s *Service) Execute(ctx context.Context, req *server.Request, res *frame.Response) error {
	st, err := s.begin(req.Conn, req.Session, req.Keyspace, res)
	if err != nil {
		return err
	}
	defer st.end()
	st.req.pageSize, st.req.pagingState = req.PageSize, req.PagingState
	st.req.timestamp, st.req.hasTimestamp = req.Timestamp, req.HasTimestamp
	if b, ok := req.Statement.Statement.(*ast.Batch); ok {
		kind := b.Kind
		st.batch, st.using = &kind, b.Using
		for _, child := range b.Statements[:min(len(b.Statements), maxBatch+1)] {
			st.add(child, req.Statement.Text, nil, req.Keyspace, req.Values)
		}
	} else {
		st.add(req.Statement.Statement, req.Statement.Text, req.Prepared, req.Keyspace, req.Values)
	}
	if len(st.list) == 0 {
		res.Void() // a batch of nothing
		return nil
	}
	return st.run(ctx)
}

// ExecuteBatch executes the statements of a BATCH message; see server.Handler.
func (s *Service) ExecuteBatch(ctx context.Context, req *server.BatchRequest, res *frame.Response) error {
	st, err := s.begin(req.Conn, req.Session, req.Keyspace, res)
	if err != nil {
		return err
	}
	defer st.end()
	st.batch = &req.Kind
	st.req.timestamp, st.req.hasTimestamp = req.Timestamp, req.HasTimestamp
	for i := range req.Entries[:min(len(req.Entries), maxBatch+1)] {
		e := &req.Entries[i]
		st.add(e.Statement.Statement, e.Statement.Text, e.Prepared, e.Keyspace, e.Values)
	}
	return st.run(ctx)
}

func (st *step) run(ctx context.Context) error {
	st.bindEnv()
	err := st.s.path.Run(ctx, &st.c, st)
	if err != nil {
		return answer(err)
	}
	return nil
}

// Handle executes the call's statements.
func (st *step) Handle(ctx context.Context, c *call.Call) error {
	err := st.handle(ctx, c)
	if err == nil {
		return nil
	}
	return fail(err)
}

// maxBatch is how many statements a batch may have (Amazon Keyspaces, quotas).
// One with more is refused by the first that is too many, and the rest is not
// looked at: a message of 65,535 statements must not make as many records.
const maxBatch = 100

func (st *step) handle(ctx context.Context, c *call.Call) error {
	if st.batch != nil {
		return st.handleBatch(ctx, c)
	}
	x := &st.list[0]
	switch s := x.stmt.(type) {
	case *ast.Use:
		if st.schema.Keyspaces[s.Keyspace] == nil && !isSystem(s.Keyspace) {
			return public(cql.Invalid("Keyspace '%s' does not exist", s.Keyspace))
		}
		st.res.SetKeyspace(s.Keyspace)
		return nil
	case *ast.Select:
		p, err := st.plan(x)
		if err != nil {
			return err
		}
		return p.query.run(ctx, st.s, &x.env, &st.req, st.res)
	case *ast.Insert, *ast.Update, *ast.Delete:
		p, err := st.plan(x)
		if err != nil {
			return err
		}
		st.mod.p, st.mod.ev, st.mod.s = p.modify, &x.env, st.s
		st.mods = append(st.mods[:0], &st.mod)
		return st.s.mutate(ctx, c, st.mods, &st.req, st.res)
	case *ast.Batch:
		return public(cql.Invalid("A batch cannot hold a batch"))
	}
	change := st.s.change(c)
	if err := change.define(x.stmt, st.current); err != nil {
		return err
	}
	if change.told.Type == "" {
		st.res.Void()
		return nil
	}
	st.res.SchemaChange(change.told)
	return nil
}

func (st *step) handleBatch(ctx context.Context, c *call.Call) error {
	if len(st.list) > maxBatch {
		return public(cql.Invalid("A batch can have at most %d statements", maxBatch))
	}
	counters := 0
	for i := range st.list {
		x := &st.list[i]
		p, err := st.plan(x)
		if err != nil {
			return err
		}
		if p.modify.t.Counter {
			counters++
		}
		if st.using.Timestamp != nil {
			if p.modify.using.Timestamp != nil {
				return public(cql.Invalid("Timestamp must be set either on BATCH or individual statements"))
			}
			n := *p.modify
			n.using.Timestamp = st.using.Timestamp
			p = &plan{table: p.table, modify: &n}
			if n.conditional() {
				return public(cql.Invalid("Cannot provide custom timestamp for conditional BATCH"))
			}
		}
		m := &modification{p: p.modify, ev: &x.env, s: st.s}
		st.mods = append(st.mods, m)
	}
	switch {
	case *st.batch == ast.CounterBatch && counters < len(st.list):
		return public(cql.Invalid("Cannot include non-counter statement in a counter batch"))
	case *st.batch != ast.CounterBatch && counters > 0:
		return public(cql.Invalid("Counter and non-counter mutations cannot exist in the same batch"))
	}
	return st.s.mutate(ctx, c, st.mods, &st.req, st.res)
}

// plan compiles a statement on rows, unless its prepared form has the plan.
func (st *step) plan(x *statement) (*plan, error) {
	if x.table == nil {
		return nil, st.missing(x)
	}
	if x.prepared != nil {
		if p, ok := x.prepared.Plan().(*plan); ok && p.table == x.table {
			return p, nil
		}
	}
	p, err := compile(x.table, x.stmt)
	p.arn = st.arn(x)
	if err == nil && x.prepared != nil {
		x.prepared.SetPlan(p)
	}
	return p, err
}

func (st *step) missing(x *statement) error {
	if x.keyspace == "" {
		return public(noKeyspaceGiven())
	}
	if !isSystem(x.keyspace) && st.schema.Keyspaces[x.keyspace] == nil {
		return public(cql.Invalid("Keyspace %s does not exist", x.keyspace))
	}
	return unconfigured(x.name)
}

func compile(t *Table, stmt ast.Statement) (*plan, error) {
	p := &plan{table: t}
	var err error
	if s, ok := stmt.(*ast.Select); ok {
		p.query, err = compileSelect(t, s)
	} else {
		p.modify, err = compileModify(t, stmt)
	}
	return p, err
}

// mayPrepare asks for the rights that the statement will need: its description
// tells what columns a table has. A denial is recorded as the statement's own.
func (s *Service) mayPrepare(ctx context.Context, req *server.Request) error {
	st, err := s.begin(req.Conn, req.Session, req.Keyspace, nil)
	if err != nil {
		return err
	}
	defer st.end()
	values := make([]frame.Value, len(req.Statement.Markers))
	for i := range values {
		values[i].Kind = frame.ValueUnset
	}
	list := []ast.Statement{req.Statement.Statement}
	if b, ok := req.Statement.Statement.(*ast.Batch); ok {
		list = b.Statements
	}
	for _, stmt := range list {
		st.add(stmt, req.Statement.Text, nil, req.Keyspace, values)
	}
	st.bindEnv()
	perms, err := st.Permissions(&st.c, nil)
	if err != nil || len(perms) == 0 {
		return answer(err)
	}
	if err = s.path.Auth.Authorize(ctx, &st.c, perms); err == nil {
		return nil
	}
	return answer(s.path.Reject(&st.c, err, func(r *record.Record) {
		r.Category = st.Category(0)
		st.Describe(&st.c, 0, err, r)
	}))
}

// Prepare describes a statement; see server.Handler. A granted one is no call
// of its own: AWS records the execution, where the caller's rights are judged
// again.
func (s *Service) Prepare(ctx context.Context, req *server.Request) (server.PreparedInfo, error) {
	sess, ok := req.Session.(*Session)
	if !ok {
		return server.PreparedInfo{}, cql.Unauthorized("You have not logged in")
	}
	if err := s.mayPrepare(ctx, req); err != nil {
		return server.PreparedInfo{}, err
	}
	schema := s.space(owner{sess.Account, sess.Region}).schema.Load()
	b := &binder{specs: make([]frame.ColumnSpec, len(req.Statement.Markers))}
	info := server.PreparedInfo{}
	one := func(stmt ast.Statement) error {
		st := step{s: s, schema: schema, c: call.Call{AccountID: sess.Account, Region: sess.Region}}
		st.add(stmt, "", nil, req.Keyspace, nil)
		p, err := st.plan(&st.list[0])
		if err != nil {
			return err
		}
		b.t = p.table
		b.statement(stmt)
		if _, whole := req.Statement.Statement.(*ast.Batch); !whole {
			info.PartitionKey = b.key
			info.Plan = p
			if p.query != nil {
				info.Result = p.query.meta
			}
		}
		return nil
	}
	switch stmt := req.Statement.Statement.(type) {
	case *ast.Batch:
		b.using(stmt.Using)
		for _, child := range stmt.Statements {
			if err := one(child); err != nil {
				return info, answer(err)
			}
		}
	case *ast.Select, *ast.Insert, *ast.Update, *ast.Delete:
		if err := one(stmt); err != nil {
			return info, answer(err)
		}
	}
	for i := range b.specs {
		if b.specs[i].Type == nil {
			b.specs[i] = frame.ColumnSpec{Name: "arg" + itoa(i), Type: types.Scalar(types.Blob)}
		}
	}
	info.Bind = b.specs
	return info, nil
}

// Events is one a statement; USE makes none, for Amazon Keyspaces records none.
func (st *step) Events() int {
	if _, ok := st.list[0].stmt.(*ast.Use); ok {
		return 0
	}
	return len(st.list)
}

// Category is Data for statements on rows.
func (st *step) Category(i int) record.Category {
	switch st.list[i].stmt.(type) {
	case *ast.Select, *ast.Insert, *ast.Update, *ast.Delete:
		return record.Data
	}
	return record.Management
}

// External is false: all effects are in the store.
func (st *step) External() bool { return false }

// Permissions are those of "Actions, resources, and condition keys for Amazon
// Keyspaces" in the service authorization reference.
func (st *step) Permissions(_ *call.Call, dst []call.Permission) ([]call.Permission, error) {
	for i := range st.list {
		x := &st.list[i]
		action, tags := actionOf(x.stmt)
		if action == "" {
			continue
		}
		if x.table != nil && len(x.table.Tags) == 0 && rowStatement(x.stmt) {
			dst = append(dst, call.Permission{Action: action, Resource: st.arn(x)})
			if conditional(x.stmt) {
				dst = append(dst, call.Permission{Action: "cassandra:Select", Resource: st.arn(x)})
			}
			continue
		}
		dst = permissions(dst, st.arn(x), action, tags, st.schema.tagsOf(x.keyspace, x.tableName()), statementTags(x.stmt))
		if conditional(x.stmt) {
			dst = permissions(dst, st.arn(x), "cassandra:Select", "", st.schema.tagsOf(x.keyspace, x.tableName()), statementTags(x.stmt))
		}
	}
	return dst, nil
}

// conditional reports whether a statement tells about the rows that it changes:
// a lightweight transaction, which needs the right to read them too (Amazon
// Keyspaces developer guide, "Actions, resources": Modify and Select).
func conditional(stmt ast.Statement) bool {
	switch s := stmt.(type) {
	case *ast.Insert:
		return s.IfNotExists
	case *ast.Update:
		return s.IfExists || len(s.If) > 0
	case *ast.Delete:
		return s.IfExists || len(s.If) > 0
	}
	return false
}

// rowStatement reports whether a statement is about rows; those have no tags.
func rowStatement(stmt ast.Statement) bool {
	switch stmt.(type) {
	case *ast.Select, *ast.Insert, *ast.Update, *ast.Delete:
		return true
	}
	return false
}

// tableName is the table that IAM sees the statement act on; empty for its
// keyspace.
func (x *statement) tableName() string {
	switch x.stmt.(type) {
	case *ast.CreateType, *ast.DropType, *ast.AlterType: // IAM knows keyspaces and tables only
		return ""
	}
	return x.name
}

func (st *step) arn(x *statement) string {
	if x.arn != "" {
		return x.arn
	}
	if x.prepared != nil {
		if p, ok := x.prepared.Plan().(*plan); ok && p.table == x.table && p.arn != "" && !x.table.system {
			x.arn = p.arn
			return x.arn
		}
	}
	x.arn = resourceARN(st.c.Region, st.c.AccountID, x.keyspace, x.tableName())
	return x.arn
}

func resourceARN(region, account, keyspace, table string) string {
	if table != "" {
		table = "table/" + table
	}
	return "arn:" + aws.Partition + ":cassandra:" + region + ":" + account + ":/keyspace/" + keyspace + "/" + table
}

func hasTags(list []ast.Property) string {
	for _, p := range list {
		if p.Name == "tags" {
			return "cassandra:TagResource"
		}
	}
	return ""
}

func actionOf(stmt ast.Statement) (action, tags string) {
	switch s := stmt.(type) {
	case *ast.Select:
		return "cassandra:Select", ""
	case *ast.Insert, *ast.Update, *ast.Delete, *ast.Truncate:
		return "cassandra:Modify", ""
	case *ast.CreateKeyspace:
		return "cassandra:Create", hasTags(s.Properties)
	case *ast.CreateTable:
		return "cassandra:Create", hasTags(s.Options.Properties)
	case *ast.CreateType, *ast.CreateIndex, *ast.CreateView:
		return "cassandra:Create", ""
	case *ast.RestoreTable:
		return "cassandra:Restore", ""
	case *ast.AlterKeyspace:
		switch s.TagChange {
		case ast.AddTags:
			return "cassandra:TagResource", ""
		case ast.DropTags:
			return "cassandra:UntagResource", ""
		}
		return "cassandra:Alter", ""
	case *ast.AlterTable:
		switch s.Kind {
		case ast.AlterTableAddTags:
			return "cassandra:TagResource", ""
		case ast.AlterTableDropTags:
			return "cassandra:UntagResource", ""
		}
		return "cassandra:Alter", ""
	case *ast.AlterType, *ast.AlterView:
		return "cassandra:Alter", ""
	case *ast.DropKeyspace, *ast.DropTable, *ast.DropType, *ast.DropIndex, *ast.DropView:
		return "cassandra:Drop", ""
	}
	return "", ""
}

var _ server.Handler = (*Service)(nil)
var _ call.Step = (*step)(nil)

// reader is what the system tables depend on.
type reader struct {
	s      *Service
	schema *Schema
	req    *request
	now    time.Time
}

func (r *request) reader(s *Service) *reader {
	o := owner{r.session.Account, r.session.Region}
	return &reader{s: s, schema: s.space(o).schema.Load(), req: r, now: s.now()}
}
