package athena

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"spoor/internal/athena/sql"
	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/crashpoint"
	"spoor/internal/engine/duckdb"
	"spoor/internal/glue"
	"spoor/internal/objects"
)

// launch runs a query when a slot is free.
func (s *Service) launch(e *execution) {
	ctx, cancel := context.WithCancel(s.ctx)
	s.mu.Lock()
	s.running[e.ID] = &run{cancel: cancel}
	s.mu.Unlock()
	s.wg.Go(func() {
		defer cancel()
		defer func() {
			s.mu.Lock()
			delete(s.running, e.ID)
			s.mu.Unlock()
		}()
		select {
		case s.slots <- struct{}{}:
			defer func() { <-s.slots }()
		case <-ctx.Done():
		}
		s.carryOut(ctx, e)
	})
}

// abort cancels a query that StopQueryExecution named.
func (s *Service) abort(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.running[id]; r != nil {
		r.cancelled = true
		r.cancel()
	}
}

func (s *Service) wasCancelled(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.running[id]
	return r != nil && r.cancelled
}

// carryOut runs the query and writes down how it ended. If that cannot be
// written, the journal has failed and the next start fails the query.
func (s *Service) carryOut(ctx context.Context, e *execution) {
	var err error
	if err = ctx.Err(); err == nil {
		e.State, e.Started = running, s.cfg.Now()
		if err := s.save(e); err != nil {
			s.cfg.Log.Error("a query's state could not be written", "query", e.ID, "err", err)
			return
		}
		qctx, cancel := context.WithTimeout(ctx, queryTimeout)
		err = s.execute(qctx, e)
		cancel()
	}
	now := s.cfg.Now()
	switch {
	case err == nil:
		e.State, e.Completed = succeeded, now
	case s.wasCancelled(e.ID):
		e.State, e.Reason, e.Completed = cancelled, "Query cancelled by user", now
	case s.ctx.Err() != nil:
		e.fail(&athenaError{Category: 1, Type: 200, Retryable: true, Message: "INTERNAL_ERROR: The server stopped while the query was under way. Run it again."}, now)
	default:
		e.fail(s.explain(e, err), now)
	}
	if err := s.save(e); err != nil {
		s.cfg.Log.Error("a query's end could not be written", "query", e.ID, "err", err)
	}
}

// queryError is a failure that its text explains fully.
type queryError struct {
	category, kind int32
	message        string
}

func (e *queryError) Error() string { return e.message }

func userError(kind int32, format string, args ...any) error {
	return &queryError{2, kind, fmt.Sprintf(format, args...)}
}

// errorTypes are AthenaError.ErrorType by Trino's error names (Athena user
// guide, "Athena error reference").
var errorTypes = map[string]int32{"TABLE_NOT_FOUND": 1301, "SCHEMA_NOT_FOUND": 1301, "COLUMN_NOT_FOUND": 1006, "CATALOG_NOT_FOUND": 1006, "TYPE_MISMATCH": 1002,
	"FUNCTION_NOT_FOUND": 1303, "DIVISION_BY_ZERO": 1001, "INVALID_CAST_ARGUMENT": 1100, "NOT_SUPPORTED": 1200}

// namedError finds an error of Trino's inside an engine's text.
var namedError = regexp.MustCompile(`((?:DIVISION_BY_ZERO|NOT_SUPPORTED|INVALID_CAST_ARGUMENT|INVALID_FUNCTION_ARGUMENT|HIVE_[A-Z_]+|INVALID_TABLE_PROPERTY|CONSTRAINT_VIOLATION): [^\n]*)`)

// explain turns an error into what the caller sees. The engine's own texts are
// about the rewritten query and may hold its values: they are shown without its
// SQL, and logged for debugging only.
func (s *Service) explain(e *execution, err error) *athenaError {
	var qe *queryError
	var se *sql.SemanticError
	var de *duckdb.Error
	switch {
	case errors.As(err, &qe):
		return &athenaError{Category: qe.category, Type: qe.kind, Message: qe.message}
	case errors.As(err, &se):
		return &athenaError{Category: 2, Type: typeOf(se.Name), Message: se.Error()}
	case errors.Is(err, context.DeadlineExceeded):
		return &athenaError{Category: 2, Type: 1000, Message: "EXCEEDED_TIME_LIMIT: Query exceeded the maximum run time limit of 30 minutes"}
	}
	text := err.Error()
	if m := namedError.FindString(text); m != "" {
		name, _, _ := strings.Cut(m, ":")
		return &athenaError{Category: 2, Type: typeOf(name), Message: m}
	}
	if errors.As(err, &de) {
		s.cfg.Log.Debug("a query failed in the engine", "query", e.ID, "err", text)
		message := trinoError(de.Message)
		name, _, _ := strings.Cut(message, ":")
		return &athenaError{Category: 2, Type: typeOf(name), Message: message}
	}
	s.cfg.Log.Error("a query failed inside the server", "query", e.ID, "err", err)
	return &athenaError{Category: 1, Type: 200, Message: "GENERIC_INTERNAL_ERROR: Amazon Athena experienced an internal error while executing this query."}
}

func typeOf(name string) int32 {
	if t, ok := errorTypes[name]; ok {
		return t
	}
	return 1000
}

func scopeOf(e *execution) glue.Scope { return glue.Scope{Account: e.Account, Region: e.Region} }

// execute carries out a statement of any kind.
func (s *Service) execute(ctx context.Context, e *execution) error {
	if err := s.mayWrite(ctx, e); err != nil {
		return err
	}
	switch n := e.stmt.Node.(type) {
	case *sql.Query:
		return s.query(ctx, e, n)
	case *sql.Explain:
		return s.explainQuery(ctx, e, n)
	case *sql.Unsupported:
		return userError(1200, "NOT_SUPPORTED: %s is not supported by this server", n.What)
	}
	lines, cols, err := s.define(ctx, e)
	if err != nil {
		return err
	}
	e.Columns = cols
	return s.putResult(ctx, e, strings.NewReader(strings.Join(lines, "\n")), false)
}

// mayWrite asks whether the caller may write results where it said.
func (s *Service) mayWrite(ctx context.Context, e *execution) error {
	bucket, _, _ := splitLocation(e.ResultFile)
	_, k, _ := splitLocation(e.ResultFile)
	return s.allowed(ctx, e, "Access denied when writing output to url: "+e.ResultFile+" . Please ensure you are allowed to access the S3 bucket. If you are encrypting query results with KMS key, please ensure you are allowed to access your KMS key",
		s.onBucket(e.call, "s3:GetBucketLocation", bucket, ""), s.onBucket(e.call, "s3:PutObject", bucket, k))
}

func (s *Service) onBucket(c *call.Call, action, bucket, key string) call.Permission {
	p := call.Permission{Action: action, Resource: "arn:aws:s3:::" + bucket, ResourcePolicy: s.cfg.Buckets.PolicyFor(bucket, c.Caller), ResourceAccount: s.cfg.Buckets.Account(bucket), Via: principal}
	if key != "" {
		p.Resource += "/" + key
	}
	return p
}

// ask asks for rights of the query's caller, as Athena does on its behalf. A
// denial is recorded as the call that would have been made.
func (s *Service) ask(ctx context.Context, e *execution, perms ...call.Permission) (denied *aws.Error, err error) {
	if err := s.cfg.Auth.Authorize(ctx, e.call, perms); !aws.IsKind(err, aws.Denied) {
		return nil, err
	}
	for i := range perms {
		err := s.cfg.Auth.Authorize(ctx, e.call, perms[i:i+1])
		if aws.IsKind(err, aws.Denied) {
			return aws.AsError(err), s.recordDenied(e, &perms[i], err)
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, nil // the policies have just changed and grant it all
}

// allowed is ask with the text that the query fails with.
func (s *Service) allowed(ctx context.Context, e *execution, text string, perms ...call.Permission) error {
	denied, err := s.ask(ctx, e, perms...)
	if err == nil && denied != nil {
		return userError(1300, "%s", text)
	}
	return err
}

func glueARNs(region, account, action, database, table string) []call.Permission {
	arn := func(r string) string { return aws.NewARN("glue", region, account, r).String() }
	out := []call.Permission{{Action: action, Resource: arn("catalog"), Via: principal}, {Action: action, Resource: arn("database/" + database), Via: principal}}
	if table != "" {
		out = append(out, call.Permission{Action: action, Resource: arn("table/" + database + "/" + table), Via: principal})
	}
	return out
}

// mayUse asks for a right on the catalogue.
func (s *Service) mayUse(ctx context.Context, e *execution, action, database, table string) error {
	if strings.EqualFold(database, glue.FederatedDatabase) && !strings.HasPrefix(action, "glue:Get") {
		return userError(1300, "Insufficient permissions to execute the query. The database %s is managed by AWS CloudTrail.", glue.FederatedDatabase)
	}
	denied, err := s.ask(ctx, e, glueARNs(e.Region, e.Account, action, database, table)...)
	if err == nil && denied != nil {
		return userError(1300, "Insufficient permissions to execute the query. %s", denied.Message)
	}
	return err
}

// resolver finds tables for one query and keeps what it found.
type resolver struct {
	ctx    context.Context
	s      *Service
	e      *execution
	tables map[string]*glue.Table // by relation name
	names  map[string]string      // database.table → relation name
}

func (r *resolver) Table(catalog, database, name string) (*sql.Table, error) {
	if r.s.checkCatalog(r.e.call, &catalog) != nil {
		return nil, &sql.SemanticError{Name: "CATALOG_NOT_FOUND", At: sql.Pos{Line: 1, Col: 1}, Message: "Catalog '" + catalog + "' does not exist"}
	}
	if err := r.s.mayUse(r.ctx, r.e, "glue:GetTable", database, name); err != nil {
		return nil, err
	}
	t, err := r.s.cfg.Catalog.Table(scopeOf(r.e), database, name)
	switch {
	case errors.Is(err, glue.ErrNoTable):
		return nil, sql.ErrNoTable
	case errors.Is(err, glue.ErrNoDatabase):
		return nil, sql.ErrNoDatabase
	case err != nil:
		return nil, err
	}
	rel, ok := r.names[database+"."+name]
	if !ok {
		rel = fmt.Sprintf("t%d", len(r.tables)+1)
		r.names[database+"."+name], r.tables[rel] = rel, &t
	}
	cols, err := tableColumns(&t)
	if err != nil {
		return nil, err
	}
	if t.Database == glue.FederatedDatabase {
		return &sql.Table{Relation: rel, Columns: cols}, nil
	}
	if r.s.cfg.Copies != nil {
		withPrefixes(cols, prefixesOf(&t, cols))
	}
	return &sql.Table{Relation: rel, Columns: append(cols, sql.Column{Name: pathColumn, Type: sql.Type{Name: "varchar"}})}, nil
}

// rewrite turns a query into the engine's dialect and its relations.
func (s *Service) rewrite(ctx context.Context, e *execution, q *sql.Query) (*sql.Rewritten, relations, error) {
	began := s.cfg.Now()
	defer func() { e.PlanTime = s.cfg.Now().Sub(began) }()
	r := &resolver{ctx: ctx, s: s, e: e, tables: map[string]*glue.Table{}, names: map[string]string{}}
	if e.stmt.Params > 0 && e.stmt.Params != len(e.Params) {
		return nil, nil, userError(1000, "INVALID_PARAMETER_USAGE: line 1:1: Incorrect number of parameters: expected %d but found %d", e.stmt.Params, len(e.Params))
	}
	out, err := sql.Rewrite(q, e.Database, r, e.Params)
	if err != nil {
		return nil, nil, err
	}
	var rels relations
	for name, t := range r.tables {
		rel, err := s.relation(ctx, e, name, t, out)
		rels = append(rels, rel)
		if err != nil {
			rels.close()
			return nil, nil, err
		}
	}
	return out, rels, nil
}

// maxResult is the largest result of a query, in bytes. A single upload takes
// at most 5 GiB.
const maxResult = 4 << 30

// query runs a SELECT and writes its result as CSV.
func (s *Service) query(ctx context.Context, e *execution, q *sql.Query) error {
	rewritten, rels, err := s.rewrite(ctx, e, q)
	if err != nil {
		return err
	}
	defer rels.close()
	best, copied := rels.best()
	statement := rewritten.SQL
	if copied && rewritten.Prefixed != "" {
		statement = rewritten.Prefixed
	}
	err = s.answer(ctx, e, statement, rewritten.Columns, best)
	var own *queryError
	if err == nil || !copied || ctx.Err() != nil || errors.As(err, &own) {
		return err
	}
	// How a query fails is for the objects to say, and whether it does.
	failed := err
	if err = s.answer(ctx, e, rewritten.SQL, rewritten.Columns, rels.plain()); err == nil {
		s.cfg.Log.Warn("columnar copies of log files could not be read and are made again", "query", e.ID, "err", failed)
		rels.forget()
	}
	return err
}

// ownerOf names the caller to the engine, which shares nothing between callers;
// "" where the caller has no name of its own.
func ownerOf(e *execution) string {
	c := e.call.Caller
	if c.PrincipalID == "" || c.ARN == "" {
		return ""
	}
	return strings.Join([]string{e.Account, c.AccountID, c.PrincipalID, c.ARN}, " ")
}

// answer runs a rewritten query over its relations and writes the result.
func (s *Service) answer(ctx context.Context, e *execution, statement string, columns []sql.ResultColumn, rels []duckdb.Relation) (err error) {
	e.Rows = 0
	out := &spool{dir: s.cfg.TempDir}
	defer func() { err = errors.Join(err, out.Close()) }()
	var cols []column
	var line []byte
	var cells []cell
	write := func(row []cell) error {
		line = appendCSV(line[:0], row)
		if out.size > maxResult {
			return userError(1000, "GENERIC_USER_ERROR: the result is larger than %d bytes", int64(maxResult))
		}
		_, err := out.Write(line)
		return err
	}
	err = s.cfg.Engine.QueryAs(ctx, ownerOf(e), statement, rels, func(rc []duckdb.ResultColumn) error {
		cols, cells = make([]column, len(rc)), make([]cell, len(rc))
		for i, c := range rc {
			cols[i] = column{c.Name, sql.TrinoType(c.Type)}
			if i < len(columns) && columns[i].Type.Known() {
				cols[i].Type = columns[i].Type
			}
		}
		return write(header(cols))
	}, func(row []any) error {
		for i, v := range row {
			text, ok := render(v, cols[i].Type)
			cells[i] = cell{text, !ok}
		}
		e.Rows++
		return write(cells)
	})
	if err != nil {
		return err
	}
	e.Columns = cols
	body, err := out.body()
	if err != nil {
		return err
	}
	return s.putResult(ctx, e, body, len(rels) == 0)
}

// putResult writes the result's object and its companion. constant says that
// the statement read no table, which Athena gives another content type, like
// SHOW and statements without columns.
func (s *Service) putResult(ctx context.Context, e *execution, body io.ReadSeeker, constant bool) error {
	bucket, k, _ := splitLocation(e.ResultFile)
	contentType := "application/octet-stream"
	if constant || strings.HasPrefix(e.Substatement, "SHOW") || len(e.Columns) == 0 {
		contentType = "binary/octet-stream"
	}
	put := func(key string, data io.ReadSeeker) error {
		err := s.cfg.Objects.PutFrom(ctx, bucket, key, data, objects.PutOptions{ContentType: contentType})
		if err != nil && ctx.Err() == nil {
			s.cfg.Log.Warn("a query's result could not be written", "query", e.ID, "err", err)
			return &queryError{1, 401, "Unable to write the query's result to s3://" + bucket + "/" + key}
		}
		return err
	}
	if err := put(k, body); err != nil {
		return err
	}
	crashpoint.Here("athena.result-written")
	if len(e.Columns) == 0 {
		return nil
	}
	return put(k+".metadata", bytes.NewReader(metadata(e.ID, e.Columns)))
}

// explainQuery shows the plan of the rewritten query.
func (s *Service) explainQuery(ctx context.Context, e *execution, n *sql.Explain) error {
	if n.Analyze {
		return userError(1200, "NOT_SUPPORTED: EXPLAIN ANALYZE is not supported by this server")
	}
	rewritten, rels, err := s.rewrite(ctx, e, n.Query)
	if err != nil {
		return err
	}
	defer rels.close()
	// A plan over the files would name them as the host does.
	plain := rels.plain()
	for i := range plain {
		plain[i].Parquet, plain[i].Parts = nil, nil
	}
	lines, err := s.cfg.Engine.Explain(ctx, rewritten.SQL, plain)
	if err != nil {
		return err
	}
	lines = append([]string{"Query Plan"}, lines...)
	e.Columns = []column{{"Query Plan", sql.Type{Name: "varchar"}}}
	return s.putResult(ctx, e, strings.NewReader(strings.Join(lines, "\n")), false)
}
