package cloudtrail

import (
	"errors"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"

	sdk "github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/lake"
)

func (s *api) queryOperations() []call.Operation {
	return []call.Operation{
		call.Op("StartQuery", s.startQueryPermissions, handle(s.startQuery),
			call.Partial("results are not delivered to S3 (DeliveryS3Uri is refused); no saved queries by QueryAlias")),
		call.Op("DescribeQuery", func(c *call.Call, in *sdk.DescribeQueryInput) ([]call.Permission, error) {
			return s.queryPermission(c, "DescribeQuery", in.QueryId)
		}, handle(s.describeQuery), call.ReadOnly, call.Partial("by QueryId only: there are no saved queries")),
		call.Op("GetQueryResults", func(c *call.Call, in *sdk.GetQueryResultsInput) ([]call.Permission, error) {
			return s.queryPermission(c, "GetQueryResults", in.QueryId)
		}, handle(s.queryResults), call.ReadOnly),
		call.Op("CancelQuery", func(c *call.Call, in *sdk.CancelQueryInput) ([]call.Permission, error) {
			return s.queryPermission(c, "CancelQuery", in.QueryId)
		}, handle(s.cancelQuery)),
		call.Op("ListQueries", onStore("ListQueries", s, func(in *sdk.ListQueriesInput) *string { return in.EventDataStore }), handle(s.listQueries), call.ReadOnly),
		call.Op("GenerateQuery", func(c *call.Call, in *sdk.GenerateQueryInput) ([]call.Permission, error) {
			var out []call.Permission
			for _, id := range in.EventDataStores {
				out = append(out, s.storePermission(c, "GenerateQuery", id))
			}
			return out, nil
		}, handle(s.generateQuery), call.Refuses(unsupported)),
		call.Op("SearchSampleQueries", onAll[sdk.SearchSampleQueriesInput]("SearchSampleQueries"),
			handle(func(*call.Call, *sdk.SearchSampleQueriesInput) (*sdk.SearchSampleQueriesOutput, error) {
				return nil, notOffered("SearchSampleQueries", "Sample queries are not offered by this server.")
			}), call.ReadOnly, call.Refuses(unsupported)),
	}
}

// storeName is a store's id where a statement may name it.
var storeName = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

// storesNamed are the ids that a statement holds, which include those of the
// stores that it reads.
func storesNamed(statement string) []string { return storeName.FindAllString(statement, maxListed) }

// owned is the ARN of a store of the account that a query names as its owner.
func owned(c *call.Call, id string, owner *string) string {
	if str(owner) != "" {
		return lake.ARN(*owner, c.Region, id)
	}
	return storeARN(c, id)
}

func (s *api) startQueryPermissions(c *call.Call, in *sdk.StartQueryInput) ([]call.Permission, error) {
	var out []call.Permission
	for _, id := range storesNamed(str(in.QueryStatement)) {
		out = append(out, s.storePermission(c, "StartQuery", owned(c, id, in.EventDataStoreOwnerAccountId)))
	}
	if len(out) == 0 {
		out = []call.Permission{{Action: "cloudtrail:StartQuery", Resource: "*"}}
	}
	return out, nil
}

// queryPermission is the permission on the stores that a query reads.
func (s *api) queryPermission(c *call.Call, op string, id *string) ([]call.Permission, error) {
	q, err := s.lake.Query(c.AccountID, c.Region, str(id))
	if err != nil {
		return nil, err
	}
	if q == nil {
		return []call.Permission{{Action: "cloudtrail:" + op, Resource: "*"}}, nil
	}
	var out []call.Permission
	for _, arn := range q.Stores {
		out = append(out, s.storePermission(c, op, arn))
	}
	return out, nil
}

// checkStatement checks a statement before it is kept or run: it is a query
// over event data stores that are there. It returns their ARNs.
func (s *api) checkStatement(c *call.Call, statement string, params []string, owner *string) ([]string, error) {
	var stores []string
	err := lake.Plan(statement, params, func(id string) (*lake.Store, error) {
		st, err := s.activeStore(c, owned(c, id, owner))
		if err == nil {
			stores = append(stores, st.ARN())
		}
		return st, err
	})
	if errors.Is(err, lake.ErrStatement) {
		return nil, &aws.Error{Op: "cloudtrail", Kind: aws.Invalid, Code: "InvalidQueryStatementException", Err: err,
			Message: "The query statement is not valid: " + strings.TrimPrefix(err.Error(), lake.ErrStatement.Error()+": ")}
	}
	return stores, err
}

func (s *api) startQuery(c *call.Call, in *sdk.StartQueryInput) (*sdk.StartQueryOutput, error) {
	switch {
	case in.QueryStatement == nil && in.QueryAlias == nil:
		return nil, invalid("InvalidParameterException", "Either QueryStatement or QueryAlias is required.")
	case in.QueryStatement == nil:
		return nil, invalid("InvalidParameterException", "The query alias %s is not valid.", *in.QueryAlias)
	case in.QueryAlias != nil:
		return nil, invalid("InvalidParameterException", "QueryStatement and QueryAlias cannot be given together.")
	case str(in.DeliveryS3Uri) != "":
		return nil, notOffered("StartQuery", "The delivery of query results to S3 is not offered by this server.")
	}
	stores, err := s.checkStatement(c, *in.QueryStatement, in.QueryParameters, in.EventDataStoreOwnerAccountId)
	if err != nil {
		return nil, err
	}
	s.lake.Lock(c)
	all, err := s.lake.Queries(c.AccountID, c.Region)
	if err != nil {
		return nil, err
	}
	going := 0
	for _, q := range all {
		if q.Going() {
			going++
		}
	}
	if going >= lake.MaxQueries {
		return nil, &aws.Error{Op: "cloudtrail.StartQuery", Kind: aws.LimitExceeded, Code: "MaxConcurrentQueriesException",
			Message: "You are already running the maximum number of concurrent queries. Wait a minute for some queries to finish, and then run the query again."}
	}
	q := &lake.Query{ID: call.NewID(), Account: c.AccountID, Region: c.Region, Owner: c.AccountID, Stores: stores, SQL: *in.QueryStatement, Params: in.QueryParameters}
	if str(in.EventDataStoreOwnerAccountId) != "" {
		q.Owner = *in.EventDataStoreOwnerAccountId
	}
	s.lake.StartQuery(c, q)
	return &sdk.StartQueryOutput{QueryId: &q.ID, EventDataStoreOwnerAccountId: &q.Owner}, nil
}

// findQuery finds a query, and checks the store that the call may name.
func (s *api) findQuery(c *call.Call, id, store *string) (*lake.Query, error) {
	if str(store) != "" {
		if _, err := s.activeStore(c, *store); err != nil {
			return nil, err
		}
	}
	q, err := s.lake.Query(c.AccountID, c.Region, str(id))
	if err == nil && q == nil {
		err = &aws.Error{Op: "cloudtrail", Kind: aws.NotFound, Code: "QueryIdNotFoundException", Message: "The query ID " + str(id) + " does not exist or does not map to a query."}
	}
	return q, err
}

func (s *api) describeQuery(c *call.Call, in *sdk.DescribeQueryInput) (*sdk.DescribeQueryOutput, error) {
	if in.QueryId == nil {
		return nil, invalid("InvalidParameterException", "Either QueryId or QueryAlias is required, and there is no query with an alias.")
	}
	//lint:ignore SA1019 AWS still takes the member
	q, err := s.findQuery(c, in.QueryId, in.EventDataStore)
	if err != nil {
		return nil, err
	}
	return &sdk.DescribeQueryOutput{QueryId: &q.ID, QueryString: &q.SQL, QueryStatus: types.QueryStatus(q.Status), ErrorMessage: optional(q.ErrorMsg),
		EventDataStoreOwnerAccountId: &q.Owner, QueryStatistics: &types.QueryStatisticsForDescribeQuery{EventsMatched: &q.Rows, EventsScanned: &q.Scanned,
			BytesScanned: &q.Bytes, ExecutionTimeInMillis: new(int32(min(q.Took, 1<<31-1))), CreationTime: &q.Created}}, nil
}

// maxQueryRows is how many rows a page of a result has, and at most.
const maxQueryRows = 1000

func (s *api) queryResults(c *call.Call, in *sdk.GetQueryResultsInput) (*sdk.GetQueryResultsOutput, error) {
	//lint:ignore SA1019 AWS still takes the member
	q, err := s.findQuery(c, in.QueryId, in.EventDataStore)
	if err != nil {
		return nil, err
	}
	from, limit := 0, maxQueryRows
	if in.MaxQueryResults != nil {
		limit = int(*in.MaxQueryResults)
	}
	if token := str(in.NextToken); token != "" {
		id, at, ok := strings.Cut(token, ":")
		if from, err = strconv.Atoi(at); !ok || err != nil || id != q.ID || from < 1 || int64(from) >= q.Rows {
			return nil, invalid("InvalidNextTokenException", "A token that is not valid, or a token that was previously used in a request with different parameters.")
		}
	}
	out := &sdk.GetQueryResultsOutput{QueryStatus: types.QueryStatus(q.Status), ErrorMessage: optional(q.ErrorMsg), QueryResultRows: [][]map[string]string{}}
	if q.Status == lake.QueryFinished {
		if err := s.lake.Results(q.ID, from, limit, func(row []map[string]string) { out.QueryResultRows = append(out.QueryResultRows, row) }); err != nil {
			return nil, err
		}
		if at := from + len(out.QueryResultRows); int64(at) < q.Rows {
			out.NextToken = new(q.ID + ":" + strconv.Itoa(at))
		}
	}
	out.QueryStatistics = &types.QueryStatistics{ResultsCount: new(int32(len(out.QueryResultRows))), TotalResultsCount: new(int32(q.Rows)), BytesScanned: &q.Bytes}
	return out, nil
}

func (s *api) cancelQuery(c *call.Call, in *sdk.CancelQueryInput) (*sdk.CancelQueryOutput, error) {
	s.lake.Lock(c)
	//lint:ignore SA1019 AWS still takes the member
	q, err := s.findQuery(c, in.QueryId, in.EventDataStore)
	if err != nil {
		return nil, err
	}
	if !q.Going() {
		return nil, invalid("InactiveQueryException", "The specified query cannot be canceled because it is in the FINISHED, FAILED, TIMED_OUT, or CANCELLED state.")
	}
	s.lake.Cancelled(c, q)
	return &sdk.CancelQueryOutput{QueryId: &q.ID, QueryStatus: types.QueryStatusCancelled, EventDataStoreOwnerAccountId: &q.Owner}, nil
}

func (s *api) listQueries(c *call.Call, in *sdk.ListQueriesInput) (*sdk.ListQueriesOutput, error) {
	st, err := s.activeStore(c, str(in.EventDataStore))
	if err != nil {
		return nil, err
	}
	if in.StartTime != nil && in.EndTime != nil && in.StartTime.After(*in.EndTime) {
		return nil, invalid("InvalidDateRangeException", "The start time must be before the end time.")
	}
	all, err := s.lake.Queries(c.AccountID, c.Region)
	if err != nil {
		return nil, err
	}
	var list []*lake.Query
	for _, q := range all {
		if slices.Contains(q.Stores, st.ARN()) && (in.QueryStatus == "" || string(in.QueryStatus) == q.Status) &&
			(in.StartTime == nil || !q.Created.Before(*in.StartTime)) && (in.EndTime == nil || !q.Created.After(*in.EndTime)) {
			list = append(list, q)
		}
	}
	// The newest first.
	key := func(q **lake.Query) string {
		return strconv.FormatInt(1<<62-(*q).Created.UnixMilli(), 10) + (*q).ID
	}
	sort.Slice(list, func(i, j int) bool { return key(&list[i]) < key(&list[j]) })
	list, next, err := page(list, key, "ListQueries "+string(in.QueryStatus)+st.ID, str(in.NextToken), in.MaxResults, maxListed)
	if err != nil {
		return nil, err
	}
	out := &sdk.ListQueriesOutput{Queries: []types.Query{}, NextToken: next}
	for _, q := range list {
		out.Queries = append(out.Queries, types.Query{QueryId: &q.ID, QueryStatus: types.QueryStatus(q.Status), CreationTime: &q.Created})
	}
	return out, nil
}

func (s *api) generateQuery(c *call.Call, in *sdk.GenerateQueryInput) (*sdk.GenerateQueryOutput, error) {
	for _, id := range in.EventDataStores {
		if _, err := s.activeStore(c, id); err != nil {
			return nil, err
		}
	}
	return nil, notOffered("GenerateQuery", "Queries are not generated by this server.")
}
