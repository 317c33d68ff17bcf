package cloudtrail

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/lake"
	"spoor/internal/trail"
)

func (s *api) queryOperations() []call.Operation {
	return []call.Operation{
		call.Op("StartQuery", s.startQueryPermissions, s.startQuery),
		call.Op("DescribeQuery", func(c *call.Call, in *sdk.DescribeQueryInput) ([]call.Permission, error) {
			id := in.QueryId
			if q, err := s.lastOfAlias(c, str(in.QueryAlias), str(in.RefreshId)); id == nil && q != nil {
				id = &q.ID
			} else if err != nil {
				return nil, err
			}
			return s.queryPermission(c, "DescribeQuery", id, in.EventDataStore) //lint:ignore SA1019 AWS still takes the member
		}, handle(s.describeQuery), call.ReadOnly),
		call.Op("GetQueryResults", func(c *call.Call, in *sdk.GetQueryResultsInput) ([]call.Permission, error) {
			return s.queryPermission(c, "GetQueryResults", in.QueryId, in.EventDataStore) //lint:ignore SA1019 AWS still takes the member
		}, handle(s.queryResults), call.ReadOnly),
		call.Op("CancelQuery", func(c *call.Call, in *sdk.CancelQueryInput) ([]call.Permission, error) {
			return s.queryPermission(c, "CancelQuery", in.QueryId, in.EventDataStore) //lint:ignore SA1019 AWS still takes the member
		}, handle(s.cancelQuery)),
		call.Op("ListQueries", onStore("ListQueries", s, func(in *sdk.ListQueriesInput) *string { return in.EventDataStore }), handle(s.listQueries), call.ReadOnly),
		call.Op("GenerateQuery", func(c *call.Call, in *sdk.GenerateQueryInput) ([]call.Permission, error) {
			var out []call.Permission
			for _, id := range in.EventDataStores {
				out = append(out, s.storePermission(c, "GenerateQuery", id))
			}
			return out, nil
		}, handle(s.generateQuery), call.Refuses(unsupported)),
		call.Op("SearchSampleQueries", onAll[sdk.SearchSampleQueriesInput]("SearchSampleQueries"), handle(s.searchSamples), call.ReadOnly),
	}
}

// storeName is a store's id where a statement may name it.
var storeName = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

// storesNamed are the ids that a statement holds, which include those of the
// stores that it reads: checkStatement refuses to read any other. SQL's names
// have no case, quoted or not.
func storesNamed(statement string) []string {
	ids := storeName.FindAllString(strings.ToLower(statement), -1)
	slices.Sort(ids)
	return slices.Compact(ids)
}

// owned is the ARN of a store of the account that a query names as its owner.
func owned(c *call.Call, id string, owner *string) string {
	if str(owner) != "" {
		return lake.ARN(*owner, c.Region, id)
	}
	return storeARN(c, id)
}

func (s *api) startQueryPermissions(c *call.Call, in *sdk.StartQueryInput) ([]call.Permission, error) {
	statement := str(in.QueryStatement)
	if in.QueryAlias != nil && statement == "" {
		w, err := s.findAlias(c, *in.QueryAlias)
		if err != nil {
			return nil, err
		}
		statement = w.Query
	}
	var out []call.Permission
	for _, id := range storesNamed(statement) {
		out = append(out, s.storePermission(c, "StartQuery", owned(c, id, in.EventDataStoreOwnerAccountId)))
	}
	if len(out) == 0 {
		out = []call.Permission{{Action: "cloudtrail:StartQuery", Resource: "*"}}
	}
	return out, nil
}

// queryPermission is the permission on the stores that a query reads, and on
// another one that a call names beside it. Without a right a store of another
// account and one that is not there have the same answer.
func (s *api) queryPermission(c *call.Call, op string, id, store *string) ([]call.Permission, error) {
	q, err := s.lake.Query(c.AccountID, c.Region, str(id))
	if err != nil {
		return nil, err
	}
	var out []call.Permission
	if q == nil {
		out = []call.Permission{{Action: "cloudtrail:" + op, Resource: "*"}}
	} else {
		for _, arn := range q.Stores {
			out = append(out, s.storePermission(c, op, arn))
		}
	}
	if named := str(store); named != "" && (q == nil || !slices.Contains(q.Stores, storeARN(c, named))) {
		out = append(out, s.storePermission(c, op, named))
	}
	return out, nil
}

// checkStatement checks a statement before it is kept or run: it is a query
// over event data stores that are there. It returns their ARNs.
func (s *api) checkStatement(c *call.Call, statement string, params []string, owner *string) ([]string, error) {
	var stores []string
	named := storesNamed(statement)
	err := lake.Plan(statement, params, func(id string) (*lake.Store, error) {
		if !slices.Contains(named, id) {
			// The caller was authorised for the stores that the text names.
			return nil, fmt.Errorf("%w: the event data store %s is not named as such", lake.ErrStatement, id)
		}
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

func (s *api) startQuery(ctx context.Context, c *call.Call, in *sdk.StartQueryInput) (*sdk.StartQueryOutput, error) {
	q := &lake.Query{ID: call.NewID(), Account: c.AccountID, Region: c.Region, Owner: c.AccountID, SQL: str(in.QueryStatement),
		Params: in.QueryParameters, Alias: str(in.QueryAlias), Created: s.lake.Now()}
	switch {
	case in.QueryStatement == nil && in.QueryAlias == nil:
		return nil, invalid("InvalidParameterException", "Either QueryStatement or QueryAlias is required.")
	case in.QueryStatement != nil && in.QueryAlias != nil:
		return nil, invalid("InvalidParameterException", "QueryStatement and QueryAlias cannot be given together.")
	case in.QueryAlias != nil:
		w, err := s.findAlias(c, *in.QueryAlias)
		if err != nil {
			return nil, err
		}
		q.SQL = w.Query
	}
	if str(in.EventDataStoreOwnerAccountId) != "" {
		q.Owner = *in.EventDataStoreOwnerAccountId
	}
	var err error
	if q.Stores, err = s.checkStatement(c, q.SQL, q.Params, in.EventDataStoreOwnerAccountId); err != nil {
		return nil, err
	}
	if in.DeliveryS3Uri != nil {
		if err := s.checkDelivery(ctx, q, *in.DeliveryS3Uri); err != nil {
			return nil, err
		}
	}
	s.lake.Lock(c)
	if err := s.checkQueryQuota(c); err != nil {
		return nil, err
	}
	s.lake.StartQuery(c, q)
	return &sdk.StartQueryOutput{QueryId: &q.ID, EventDataStoreOwnerAccountId: &q.Owner}, nil
}

// checkQueryQuota: the queries of dashboards have a quota of their own.
func (s *api) checkQueryQuota(c *call.Call) error {
	all, err := s.lake.Queries(c.AccountID, c.Region)
	if err != nil {
		return err
	}
	going := 0
	for _, q := range all {
		if q.Going() && q.Refresh == "" {
			going++
		}
	}
	if going >= lake.MaxQueries {
		return &aws.Error{Op: "cloudtrail.StartQuery", Kind: aws.LimitExceeded, Code: "MaxConcurrentQueriesException",
			Message: "You are already running the maximum number of concurrent queries. Wait a minute for some queries to finish, and then run the query again."}
	}
	return nil
}

// checkDelivery takes the place where a query's result goes, when CloudTrail
// may write there.
func (s *api) checkDelivery(ctx context.Context, q *lake.Query, uri string) error {
	name, prefix, _ := strings.Cut(strings.TrimPrefix(uri, "s3://"), "/")
	prefix = strings.TrimSuffix(prefix, "/")
	if err := checkBucketName(name); err != nil {
		return err
	}
	if err := checkPrefix(prefix); err != nil {
		return err
	}
	q.Delivery = &lake.Delivery{URI: uri, Bucket: name, Prefix: prefix}
	document, owner, err := s.bucket.Policy(ctx, name)
	if errors.Is(err, trail.ErrNoSuchBucket) {
		return &aws.Error{Op: "cloudtrail.StartQuery", Kind: aws.NotFound, Code: "S3BucketDoesNotExistException", Message: "S3 bucket " + name + " does not exist!"}
	}
	if err != nil {
		return fmt.Errorf("reading the policy of bucket %s: %w", name, err)
	}
	ok, err := lake.MayDeliver(document, owner, q)
	if err == nil && !ok {
		err = &aws.Error{Op: "cloudtrail.StartQuery", Kind: aws.Denied, Code: "InsufficientS3BucketPolicyException", Message: fmt.Sprintf(
			"Incorrect S3 bucket policy is detected for bucket: %s. It must let the service %s do s3:GetBucketAcl on the bucket and s3:PutObject on %s (condition keys sent: aws:SourceArn=%s, aws:SourceAccount=%s).",
			name, trail.ServicePrincipal, lake.ResultKey(prefix, q.Account, "*", q.Created, "*"), q.Stores[0], q.Account)}
	}
	return err
}

// findAlias finds the template that an alias names: the query of a widget.
func (s *api) findAlias(c *call.Call, alias string) (*widget, error) {
	all, err := dashboards.list(s.store, c.AccountID, c.Region)
	if err != nil {
		return nil, err
	}
	for _, x := range all {
		for i := range x.Widgets {
			if x.Widgets[i].Alias == alias {
				return &x.Widgets[i], nil
			}
		}
	}
	return nil, invalid("InvalidParameterException", "The query alias %s is not valid.", alias)
}

// lastOfAlias is the last query that was made from a template, for a refresh
// when one is named; nil when there is none.
func (s *api) lastOfAlias(c *call.Call, alias, refresh string) (*lake.Query, error) {
	if alias == "" {
		return nil, nil
	}
	all, err := s.lake.Queries(c.AccountID, c.Region)
	if err != nil {
		return nil, err
	}
	var last *lake.Query
	for _, q := range all {
		if q.Alias == alias && (refresh == "" || q.Refresh == refresh) && (last == nil || later(q, last)) {
			last = q
		}
	}
	return last, nil
}

// later reports whether a query of a template came after another. Refreshes of one
// millisecond have numbers that grow.
func later(a, b *lake.Query) bool {
	if !a.Created.Equal(b.Created) {
		return a.Created.After(b.Created)
	}
	return a.Refresh > b.Refresh // of the same length until the year 2286
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
	id := in.QueryId
	switch {
	case id == nil && in.QueryAlias == nil:
		return nil, invalid("InvalidParameterException", "Either QueryId or QueryAlias is required.")
	case id != nil && in.QueryAlias != nil:
		return nil, invalid("InvalidParameterException", "QueryId and QueryAlias cannot be given together.")
	case id != nil && in.RefreshId != nil:
		return nil, invalid("InvalidParameterException", "RefreshId can be given with QueryAlias only.")
	case id == nil:
		last, err := s.lastOfAlias(c, *in.QueryAlias, str(in.RefreshId))
		if err != nil {
			return nil, err
		}
		if last == nil {
			return nil, &aws.Error{Op: "cloudtrail.DescribeQuery", Kind: aws.NotFound, Code: "QueryIdNotFoundException",
				Message: "The query alias " + *in.QueryAlias + " does not map to a query."}
		}
		id = &last.ID
	}
	//lint:ignore SA1019 AWS still takes the member
	q, err := s.findQuery(c, id, in.EventDataStore)
	if err != nil {
		return nil, err
	}
	out := &sdk.DescribeQueryOutput{QueryId: &q.ID, QueryString: &q.SQL, QueryStatus: types.QueryStatus(q.Status), ErrorMessage: optional(q.ErrorMsg),
		EventDataStoreOwnerAccountId: &q.Owner, QueryStatistics: &types.QueryStatisticsForDescribeQuery{EventsMatched: &q.Rows, EventsScanned: &q.Scanned,
			BytesScanned: &q.Bytes, ExecutionTimeInMillis: new(int32(min(q.Took, 1<<31-1))), CreationTime: &q.Created}}
	if q.Delivery != nil {
		out.DeliveryS3Uri, out.DeliveryStatus = &q.Delivery.URI, types.DeliveryStatus(q.Delivery.Status)
	}
	return out, nil
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
	list, next, err := page(list, key, "ListQueries "+string(in.QueryStatus)+moment(in.StartTime)+moment(in.EndTime)+st.ID, str(in.NextToken), in.MaxResults, maxListed)
	if err != nil {
		return nil, err
	}
	out := &sdk.ListQueriesOutput{Queries: []types.Query{}, NextToken: next}
	for _, q := range list {
		out.Queries = append(out.Queries, types.Query{QueryId: &q.ID, QueryStatus: types.QueryStatus(q.Status), CreationTime: &q.Created})
	}
	return out, nil
}

// moment is a time as a part of what a paging token belongs to.
func moment(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

func (s *api) generateQuery(c *call.Call, in *sdk.GenerateQueryInput) (*sdk.GenerateQueryOutput, error) {
	for _, id := range in.EventDataStores {
		if _, err := s.activeStore(c, id); err != nil {
			return nil, err
		}
	}
	return nil, notOffered("GenerateQuery", "Queries are not generated by this server.")
}
