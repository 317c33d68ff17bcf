package athena

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/athena"
	"github.com/aws/aws-sdk-go-v2/service/athena/types"

	"spoor/internal/athena/sql"
	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/kv"
	"spoor/internal/objects"
)

// HTTP is Athena as the HTTP listener serves it.
func (s *Service) HTTP() *call.Service {
	return &call.Service{
		Name: "athena", EventSource: "athena.amazonaws.com", APIVersion: "2017-05-18", Protocol: call.JSON11,
		TargetPrefixes: []string{"AmazonAthena"}, ErrorMessageKey: "Message",
		ValidationError: func(m string) error { return invalid(invalidInput, "%s", m) },
		RefusedError: func(op string) error {
			return invalid(invalidInput, "%s is not offered by this server.", op)
		},
		Operations: slices.Concat(s.metadataOperations(), s.workGroupOperations(), s.catalogOperations(), s.tagOperations(), []call.Operation{
			call.Op("StartQueryExecution", func(c *call.Call, in *sdk.StartQueryExecutionInput) ([]call.Permission, error) {
				return s.onWorkGroup(c, "StartQueryExecution", in.WorkGroup), nil
			}, s.start, call.Omit("QueryString", "ExecutionParameters"), call.Partial(queryLacks)),
			call.Op("StopQueryExecution", func(c *call.Call, in *sdk.StopQueryExecutionInput) ([]call.Permission, error) {
				return s.onExecution(c, "StopQueryExecution", in.QueryExecutionId), nil
			}, s.stop),
			call.Op("GetQueryExecution", func(c *call.Call, in *sdk.GetQueryExecutionInput) ([]call.Permission, error) {
				return s.onExecution(c, "GetQueryExecution", in.QueryExecutionId), nil
			}, s.get, call.ReadOnly),
			call.Op("BatchGetQueryExecution", func(c *call.Call, in *sdk.BatchGetQueryExecutionInput) ([]call.Permission, error) {
				var out []call.Permission
				for i := range in.QueryExecutionIds {
					out = append(out, s.onExecution(c, "BatchGetQueryExecution", &in.QueryExecutionIds[i])...)
				}
				return out, nil
			}, s.batchGet, call.ReadOnly),
			call.Op("ListQueryExecutions", func(c *call.Call, in *sdk.ListQueryExecutionsInput) ([]call.Permission, error) {
				return s.onWorkGroup(c, "ListQueryExecutions", in.WorkGroup), nil
			}, s.list, call.ReadOnly),
			call.Op("GetQueryResults", func(c *call.Call, in *sdk.GetQueryResultsInput) ([]call.Permission, error) {
				return s.onResults(c, in.QueryExecutionId), nil
			}, s.results, call.ReadOnly),
			call.Op("GetQueryRuntimeStatistics", func(c *call.Call, in *sdk.GetQueryRuntimeStatisticsInput) ([]call.Permission, error) {
				return s.onExecution(c, "GetQueryRuntimeStatistics", in.QueryExecutionId), nil
			}, s.runtimeStatistics, call.ReadOnly),
		}),
	}
}

func str(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func workGroupOr(p *string) string {
	if str(p) == "" {
		return primary
	}
	return *p
}

func workGroupARN(c *call.Call, name string) string {
	return aws.NewARN("athena", c.Region, c.AccountID, "workgroup/"+name).String()
}

// onExecution needs the work group of the execution; one that does not exist
// is looked for in primary.
func (s *Service) onExecution(c *call.Call, op string, id *string) []call.Permission {
	group := primary
	if e, err := s.execution(c, str(id)); err == nil {
		group = e.WorkGroup
	}
	return s.onWorkGroup(c, op, &group)
}

// onResults needs, beside the operation, the right to read the result's object
// (Athena API reference, GetQueryResults).
func (s *Service) onResults(c *call.Call, id *string) []call.Permission {
	out := s.onExecution(c, "GetQueryResults", id)
	if e, err := s.execution(c, str(id)); err == nil && e.ResultFile != "" {
		bucket, k, _ := splitLocation(e.ResultFile)
		out = append(out, s.onBucket(c, "s3:GetObject", bucket, k))
	}
	return out
}

func (s *Service) execution(c *call.Call, id string) (*execution, error) {
	e, err := load[execution](s, executionKey(c.AccountID, c.Region, id))
	if errors.Is(err, kv.ErrNotFound) {
		return nil, invalid("QUERY_EXECUTION_NOT_FOUND", "QueryExecution %s was not found", id)
	}
	return e, err
}

// tokenRow binds a client's token to what it started.
type tokenRow struct {
	ID, Query, Catalog, Database, Output string
}

const noOutput = "No output location provided. You did not provide an output location for  your query results. Either specify an S3 bucket location or enable Athena managed query results in your workgroup settings."

// start checks in the order in which Athena does: token, output location,
// syntax, work group.
func (s *Service) start(_ context.Context, c *call.Call, in *sdk.StartQueryExecutionInput) (*sdk.StartQueryExecutionOutput, error) {
	token := str(in.ClientRequestToken)
	if token == "" {
		return nil, invalid(invalidInput, "clientRequestToken is null or empty")
	}
	group := workGroupOr(in.WorkGroup)
	wg, err := s.workGroup(c, group)
	if err != nil {
		return nil, err
	}
	if wg.disabled() {
		return nil, invalid(invalidInput, "WorkGroup %s is disabled.", group)
	}
	if err := checkResult(in.ResultConfiguration); err != nil {
		return nil, err
	}
	e := &execution{ID: call.NewID(), Account: c.AccountID, Region: c.Region, Query: str(in.QueryString), Params: in.ExecutionParameters,
		WorkGroup: group, State: queued, Submitted: s.cfg.Now(), Token: token}
	if q := in.QueryExecutionContext; q != nil {
		e.Catalog, e.Database = str(q.Catalog), str(q.Database)
	}
	if r := in.ResultConfiguration; r != nil {
		e.Output = str(r.OutputLocation)
	}
	c.Tx.Lock(&s.writing)
	tk := key(c, "token", token)
	switch old, err := load[tokenRow](s, tk); {
	case err == nil:
		if old.Query != e.Query || old.Catalog != e.Catalog || old.Database != e.Database || old.Output != e.Output {
			return nil, invalid("IDEMPOTENT_PARAMETER_MISMATCH", "Idempotent parameters do not match")
		}
		return &sdk.StartQueryExecutionOutput{QueryExecutionId: &old.ID}, nil
	case !errors.Is(err, kv.ErrNotFound):
		return nil, err
	}
	row := tokenRow{e.ID, e.Query, e.Catalog, e.Database, e.Output}
	if e.Output == "" || wg.enforced() {
		e.Output = wg.output()
	}
	if err := s.checkOutput(e.Output); err != nil {
		return nil, err
	}
	if err := s.checkOwner(e.Output, in.ResultConfiguration, wg); err != nil {
		return nil, err
	}
	e.cutoff = wg.cutoff()
	if e.stmt, err = parse(e.Query); err != nil {
		return nil, err
	}
	e.Type, e.Substatement = e.stmt.Type, e.stmt.Substatement
	if e.Catalog != "" && s.checkCatalog(c, &e.Catalog) != nil {
		return nil, invalid("DATACATALOG_NOT_FOUND", "Catalog '%s' does not exist", e.Catalog)
	}
	e.ResultFile = strings.TrimSuffix(e.Output, "/") + "/" + e.ID + extension(e.stmt)
	if d, ok := e.stmt.Node.(*sql.Describe); ok {
		n := sql.Qualify(d.Name, e.Database)
		if _, err := s.cfg.Catalog.Table(scopeOf(e), n.Database, n.Table); err != nil {
			return nil, invalid(invalidInput, "Entity Not Found (Service: AmazonDataCatalog; Status Code: 400; Error Code: EntityNotFoundException; Request ID: %s; Proxy: null)", c.RequestID)
		}
	}
	caller := *c
	caller.Tx = call.Tx{}
	caller.ViaService = principal
	e.call = &caller
	c.Tx.Set(executionKey(e.Account, e.Region, e.ID), encode(e))
	c.Tx.Set(orderKey(e.Account, e.Region, e.WorkGroup, e.Submitted, e.ID), nil)
	c.Tx.Set(tk, encode(row))
	c.Tx.OnCommit(func() { s.launch(e) })
	return &sdk.StartQueryExecutionOutput{QueryExecutionId: &e.ID}, nil
}

func (s *Service) checkOutput(location string) error {
	if location == "" {
		return invalid(invalidInput, noOutput)
	}
	bucket, _, ok := splitLocation(location)
	if !ok {
		return invalid(invalidInput, "outputLocation is not a valid S3 path.")
	}
	if !s.cfg.Buckets.Exists(bucket) {
		return invalid(invalidInput, "Unable to verify/create output bucket %s", bucket)
	}
	if _, prefix, _ := splitLocation(location); !objects.ValidKey(strings.TrimSuffix(prefix, "/")+"/x") && prefix != "" {
		return invalid(invalidInput, "outputLocation is not a valid S3 path.")
	}
	return nil
}

// checkOwner holds a caller, or a work group, to the account that it expects
// to own the output bucket.
func (s *Service) checkOwner(location string, r *types.ResultConfiguration, wg *workGroup) error {
	var want string
	if r != nil {
		want = str(r.ExpectedBucketOwner)
	}
	if wg.Configuration != nil && wg.Configuration.ResultConfiguration != nil && (wg.enforced() || want == "") {
		want = str(wg.Configuration.ResultConfiguration.ExpectedBucketOwner)
	}
	bucket, _, _ := splitLocation(location)
	if want != "" && want != s.cfg.Buckets.Account(bucket) {
		return invalid(invalidInput, "Unable to verify/create output bucket %s", bucket)
	}
	return nil
}

// parse parses and turns what is wrong into Athena's error.
func parse(text string) (*sql.Statement, error) {
	st, err := sql.Parse(text)
	var se *sql.SyntaxError
	var ue *sql.UnsupportedError
	switch {
	case errors.As(err, &se):
		failed := invalid("MALFORMED_QUERY", "%s", se.Error())
		failed.Recorded = se.Redacted() // a record leaves the statement out, and so its pieces
		return nil, failed
	case errors.As(err, &ue):
		return nil, invalid("MALFORMED_QUERY", "%s", ue.Message)
	}
	return st, err
}

// extension is the ending of the result's object (Athena user guide, "Work
// with query results").
func extension(st *sql.Statement) string {
	switch {
	case st.Type == "DML" && st.Substatement == "EXPLAIN", st.Type == "UTILITY":
		return ".txt"
	case st.Type == "DML" && (st.Substatement == "INSERT" || st.Substatement == "UNLOAD"):
		return ""
	case st.Type == "DML":
		return ".csv"
	}
	return ".txt"
}

func (s *Service) stop(_ context.Context, c *call.Call, in *sdk.StopQueryExecutionInput) (*sdk.StopQueryExecutionOutput, error) {
	e, err := s.execution(c, str(in.QueryExecutionId))
	if err != nil {
		return nil, err
	}
	if !e.finished() {
		c.Tx.OnCommit(func() { s.abort(e.ID) })
	}
	return &sdk.StopQueryExecutionOutput{}, nil
}

func (s *Service) get(_ context.Context, c *call.Call, in *sdk.GetQueryExecutionInput) (*sdk.GetQueryExecutionOutput, error) {
	e, err := s.execution(c, str(in.QueryExecutionId))
	if err != nil {
		return nil, err
	}
	return &sdk.GetQueryExecutionOutput{QueryExecution: e.sdk()}, nil
}

func (s *Service) batchGet(_ context.Context, c *call.Call, in *sdk.BatchGetQueryExecutionInput) (*sdk.BatchGetQueryExecutionOutput, error) {
	out := &sdk.BatchGetQueryExecutionOutput{QueryExecutions: []types.QueryExecution{}, UnprocessedQueryExecutionIds: []types.UnprocessedQueryExecutionId{}}
	for _, id := range in.QueryExecutionIds {
		e, err := s.execution(c, id)
		if err != nil {
			ae := aws.AsError(err)
			if ae.Kind == aws.Internal {
				return nil, err
			}
			out.UnprocessedQueryExecutionIds = append(out.UnprocessedQueryExecutionIds, types.UnprocessedQueryExecutionId{QueryExecutionId: &id, ErrorCode: new("QUERY_EXECUTION_NOT_FOUND"), ErrorMessage: &ae.Message})
			continue
		}
		out.QueryExecutions = append(out.QueryExecutions, *e.sdk())
	}
	return out, nil
}

func pageSize(given *int32, def int) int {
	if given == nil || *given <= 0 {
		return def
	}
	return min(int(*given), def)
}

func (s *Service) list(_ context.Context, c *call.Call, in *sdk.ListQueryExecutionsInput) (*sdk.ListQueryExecutionsOutput, error) {
	group := workGroupOr(in.WorkGroup)
	if _, err := s.workGroup(c, group); err != nil {
		return nil, err
	}
	prefix := key(c, "order", group)
	from := prefix
	if t := str(in.NextToken); t != "" {
		raw, err := base64.RawURLEncoding.DecodeString(t)
		if err != nil || !strings.HasPrefix(string(raw), string(prefix)) {
			return nil, invalid(invalidInput, "Malformed nextPageToken %s", t)
		}
		from = append(raw, 0)
	}
	size := pageSize(in.MaxResults, maxBatch)
	out := &sdk.ListQueryExecutionsOutput{QueryExecutionIds: []string{}}
	var last []byte
	err := s.cfg.Store.ScanRange(from, kv.PrefixEnd(prefix), func(k, _ []byte) (bool, error) {
		if len(out.QueryExecutionIds) == size {
			out.NextToken = new(base64.RawURLEncoding.EncodeToString(last))
			return false, nil
		}
		id, _, ok := kv.DecodeString(k[len(prefix)+8:])
		if ok {
			out.QueryExecutionIds = append(out.QueryExecutionIds, id)
		}
		last = append(last[:0], k...)
		return true, nil
	})
	return out, err
}

func (e *execution) sdk() *types.QueryExecution {
	q := &types.QueryExecution{QueryExecutionId: &e.ID, Query: &e.Query, StatementType: types.StatementType(e.Type), SubstatementType: optional(e.Substatement),
		WorkGroup: &e.WorkGroup, ExecutionParameters: e.Params, EngineVersion: &types.EngineVersion{SelectedEngineVersion: new("AUTO"), EffectiveEngineVersion: new(engineVersion)},
		ResultConfiguration: &types.ResultConfiguration{OutputLocation: &e.ResultFile}, QueryExecutionContext: &types.QueryExecutionContext{Catalog: optional(strings.ToLower(e.Catalog)), Database: optional(e.Database)},
		Status:     &types.QueryExecutionStatus{State: types.QueryExecutionState(e.State), SubmissionDateTime: &e.Submitted, StateChangeReason: optional(e.Reason)},
		Statistics: &types.QueryExecutionStatistics{},
	}
	if e.finished() {
		q.Status.CompletionDateTime = &e.Completed
		t := e.times()
		q.Statistics = &types.QueryExecutionStatistics{EngineExecutionTimeInMillis: &t.engine, TotalExecutionTimeInMillis: &t.total, QueryQueueTimeInMillis: &t.queue,
			QueryPlanningTimeInMillis: &t.plan, ServicePreProcessingTimeInMillis: new(int64(0)), ServiceProcessingTimeInMillis: new(int64(1)), DataScannedInBytes: &e.Scanned,
			ResultReuseInformation: &types.ResultReuseInformation{}}
	}
	if e.Error != nil {
		q.Status.AthenaError = &types.AthenaError{ErrorCategory: &e.Error.Category, ErrorType: &e.Error.Type, ErrorMessage: &e.Error.Message, Retryable: e.Error.Retryable}
	}
	return q
}

type millis struct{ queue, plan, engine, total int64 }

// times are at least 1: clients take 0 for a query that did not run.
func (e *execution) times() millis {
	ms := func(d time.Duration) int64 { return max(1, d.Milliseconds()) }
	if e.Started.IsZero() {
		return millis{1, 0, 1, ms(e.Completed.Sub(e.Submitted))}
	}
	return millis{ms(e.Started.Sub(e.Submitted)), ms(e.PlanTime), ms(e.Completed.Sub(e.Started)), ms(e.Completed.Sub(e.Submitted))}
}

func (s *Service) runtimeStatistics(_ context.Context, c *call.Call, in *sdk.GetQueryRuntimeStatisticsInput) (*sdk.GetQueryRuntimeStatisticsOutput, error) {
	e, err := s.execution(c, str(in.QueryExecutionId))
	if err != nil {
		return nil, err
	}
	if !e.finished() {
		return nil, invalid("INVALID_QUERY_EXECUTION_STATE", "Query has not yet finished. Current state: %s", e.State)
	}
	t := e.times()
	return &sdk.GetQueryRuntimeStatisticsOutput{QueryRuntimeStatistics: &types.QueryRuntimeStatistics{
		Timeline: &types.QueryRuntimeStatisticsTimeline{EngineExecutionTimeInMillis: &t.engine, TotalExecutionTimeInMillis: &t.total, QueryQueueTimeInMillis: &t.queue,
			QueryPlanningTimeInMillis: &t.plan, ServiceProcessingTimeInMillis: new(int64(1))},
		Rows: &types.QueryRuntimeStatisticsRows{InputBytes: &e.Scanned, OutputRows: &e.Rows},
	}}, nil
}
