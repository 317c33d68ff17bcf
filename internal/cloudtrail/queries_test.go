package cloudtrail

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"
	"github.com/google/go-cmp/cmp"

	"spoor/internal/call"
)

// query runs a statement and returns its rows as "column=value" texts.
func (r *rig) query(c *sdk.Client, statement string, params ...string) (rows []string, last *sdk.GetQueryResultsOutput) {
	r.t.Helper()
	q, err := c.StartQuery(r.t.Context(), &sdk.StartQueryInput{QueryStatement: &statement, QueryParameters: params})
	if err != nil {
		r.t.Fatalf("%s: %v", statement, err)
	}
	for in := (&sdk.GetQueryResultsInput{QueryId: q.QueryId, MaxQueryResults: new(int32(2))}); ; {
		var out *sdk.GetQueryResultsOutput
		until(r.t, func() bool {
			if out, err = c.GetQueryResults(r.t.Context(), in); err != nil {
				r.t.Fatal(err)
			}
			return out.QueryStatus != types.QueryStatusQueued && out.QueryStatus != types.QueryStatusRunning
		})
		for _, row := range out.QueryResultRows {
			var cells []string
			for _, cell := range row {
				for k, v := range cell {
					cells = append(cells, k+"="+v)
				}
			}
			rows = append(rows, strings.Join(cells, " "))
		}
		if in.NextToken = out.NextToken; in.NextToken == nil {
			return rows, out
		}
	}
}

// TestQueries asks an event data store in Lake's SQL.
func TestQueries(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, c := t.Context(), r.client(region)
	arn := *r.newStore(c, "main").EventDataStoreArn
	id := arn[strings.LastIndexByte(arn, '/')+1:]
	for _, name := range []string{"one-trail", "two-trail", "three-trail"} {
		if _, err := c.CreateTrail(ctx, create(name)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.GetTrail(ctx, &sdk.GetTrailInput{Name: new("absent")}); code(err) != "TrailNotFoundException" {
		t.Fatal(err)
	}
	tests := []struct {
		name, sql string
		params    []string
		want      []string
	}{
		{"members of maps and structures", `SELECT element_at(requestParameters, 'name') AS trail, userIdentity.type FROM ` + id +
			` WHERE eventName = 'CreateTrail' AND eventTime > '2020-01-01 00:00:00' ORDER BY 1`, nil,
			[]string{"trail=one-trail type=Root", "trail=three-trail type=Root", "trail=two-trail type=Root"}},
		{"groups", `SELECT eventName, count(*) AS n FROM ` + id + ` WHERE eventName LIKE '%Trail' GROUP BY eventName ORDER BY n DESC`, nil,
			[]string{"eventname=CreateTrail n=3", "eventname=GetTrail n=1"}},
		{"errors", `SELECT errorCode, readOnly FROM ` + id + ` WHERE errorCode IS NOT NULL`, nil, []string{"errorcode=TrailNotFoundException readonly=true"}},
		{"parameters", `SELECT count(*) AS n FROM ` + id + ` AS e WHERE e.eventName = ?`, []string{"CreateTrail"}, []string{"n=3"}},
		{"a join with itself", `SELECT count(*) AS n FROM ` + id + ` a JOIN ` + id + ` b ON a.eventID = b.eventID WHERE a.eventName = 'GetTrail'`, nil, []string{"n=1"}},
		{"NULL", `SELECT errorMessage FROM ` + id + ` WHERE eventName = 'CreateTrail' LIMIT 1`, nil, []string{"errormessage="}},
		{"times leave nothing", `SELECT count(*) AS n FROM ` + id + ` WHERE eventTime BETWEEN '2020-01-01' AND '2020-01-02'`, nil, []string{"n=0"}},
		{"resources", `SELECT resources[1].arn AS arn FROM ` + id + ` WHERE element_at(requestParameters, 'name') = 'one-trail'`, nil,
			[]string{"arn=arn:aws:cloudtrail:us-east-1:" + account + ":trail/one-trail"}},
		{"the whole event", `SELECT json_extract_scalar(eventJson, '$.eventVersion') AS v FROM ` + id + ` WHERE eventName = 'GetTrail'`, nil, []string{"v=1.11"}},
	}
	for _, tt := range tests {
		rows, last := r.query(c, tt.sql, tt.params...)
		if d := cmp.Diff(tt.want, rows); d != "" || last.QueryStatus != types.QueryStatusFinished || int(*last.QueryStatistics.TotalResultsCount) != len(tt.want) {
			t.Errorf("%s: %s %v %s", tt.name, last.QueryStatus, last.ErrorMessage, d)
		}
	}
	rows, last := r.query(c, `SELECT CAST(eventName AS bigint) FROM `+id)
	if len(rows) != 0 || last.QueryStatus != types.QueryStatusFailed || last.ErrorMessage == nil || *last.ErrorMessage == "" {
		t.Errorf("a query that fails while it runs: %v %+v", rows, last)
	}
	list, err := c.ListQueries(ctx, &sdk.ListQueriesInput{EventDataStore: &arn, QueryStatus: types.QueryStatusFailed})
	if err != nil || len(list.Queries) != 1 {
		t.Fatalf("failed queries %+v, %v", list, err)
	}
	d, err := c.DescribeQuery(ctx, &sdk.DescribeQueryInput{QueryId: list.Queries[0].QueryId})
	if err != nil || d.QueryStatus != types.QueryStatusFailed || *d.QueryString != `SELECT CAST(eventName AS bigint) FROM `+id {
		t.Errorf("described %+v, %v", d, err)
	}
	if _, err := c.CancelQuery(ctx, &sdk.CancelQueryInput{QueryId: list.Queries[0].QueryId}); code(err) != "InactiveQueryException" {
		t.Errorf("cancelling what is over: %v", err)
	}
}

// TestQueryErrors: what a statement that cannot run gets.
func TestQueryErrors(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, c := t.Context(), r.client(region)
	arn := *r.newStore(c, "main").EventDataStoreArn
	id := arn[strings.LastIndexByte(arn, '/')+1:]
	for _, tt := range []struct {
		name, code string
		in         sdk.StartQueryInput
	}{
		{"nothing", "InvalidParameterException", sdk.StartQueryInput{}},
		{"alias", "InvalidParameterException", sdk.StartQueryInput{QueryAlias: new("Widget-1")}},
		{"syntax", "InvalidQueryStatementException", sdk.StartQueryInput{QueryStatement: new("SELEC 1 FROM " + id)}},
		{"no query", "InvalidQueryStatementException", sdk.StartQueryInput{QueryStatement: new("DROP TABLE " + id)}},
		{"column", "InvalidQueryStatementException", sdk.StartQueryInput{QueryStatement: new("SELECT colour FROM " + id)}},
		{"function of files", "InvalidQueryStatementException", sdk.StartQueryInput{QueryStatement: new("SELECT * FROM read_csv('/etc/passwd'), " + id)}},
		{"table of a catalogue", "InvalidQueryStatementException", sdk.StartQueryInput{QueryStatement: new("SELECT * FROM other." + id)}},
		{"without end", "InvalidQueryStatementException", sdk.StartQueryInput{QueryStatement: new("SELECT * FROM (WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT n FROM t), " + id)}},
		{"absent", "EventDataStoreNotFoundException", sdk.StartQueryInput{QueryStatement: new("SELECT 1 FROM 123e4567-e89b-12d3-a456-426614174000")}},
		{"another's", "EventDataStoreNotFoundException", sdk.StartQueryInput{QueryStatement: new("SELECT 1 FROM " + id), EventDataStoreOwnerAccountId: new("999999999999")}},
		{"parameters", "InvalidQueryStatementException", sdk.StartQueryInput{QueryStatement: new("SELECT 1 FROM " + id + " WHERE eventname = ?")}},
	} {
		if _, err := c.StartQuery(ctx, &tt.in); code(err) != tt.code {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.code)
		}
	}
	if p := r.asked.perms; len(p) != 1 || p[0].Action != "cloudtrail:StartQuery" || p[0].Resource != arn {
		t.Errorf("permission %+v", p)
	}
	if _, err := c.StartQuery(ctx, &sdk.StartQueryInput{QueryStatement: new("SELECT 1 FROM main")}); err == nil || !strings.Contains(err.Error(), "FROM takes the id of an event data store") {
		t.Errorf("a store's name: %v", err)
	}
	if _, err := c.GetQueryResults(ctx, &sdk.GetQueryResultsInput{QueryId: new("123e4567-e89b-12d3-a456-426614174000")}); code(err) != "QueryIdNotFoundException" {
		t.Error(err)
	}
	//lint:ignore SA1019 AWS still takes the member
	_, err := c.GetQueryResults(ctx, &sdk.GetQueryResultsInput{QueryId: new("123e4567-e89b-12d3-a456-426614174000"), EventDataStore: new("arn:aws:s3:::x")})
	if code(err) != "EventDataStoreARNInvalidException" {
		t.Error(err)
	}
}

// TestStoresAreAuthorised: however a statement spells the store that it reads,
// the caller must have the permission on it, by a query and by a widget.
func TestStoresAreAuthorised(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, c := t.Context(), r.client(region)
	arn := *r.newStore(c, "main").EventDataStoreArn
	id := arn[strings.LastIndexByte(arn, '/')+1:]
	upper := strings.ToUpper(id)
	for _, statement := range []string{
		"SELECT eventid FROM " + id,
		`SELECT eventid FROM "` + id + `"`,
		`SELECT eventid FROM "` + upper + `"`,
		`SELECT eventid FROM "` + upper[:9] + id[9:] + `"`,
		`SELECT eventid FROM "default"."` + upper + `"`,
		`SELECT eventid FROM "DEFAULT".` + "/* */" + `"` + upper + `" AS t`,
		`SELECT eventid FROM (SELECT * FROM "` + upper + `") AS t`,
		`WITH w AS (SELECT eventid FROM "` + upper + `") SELECT * FROM w`,
		`SELECT a.eventid FROM "` + upper + `" a JOIN ` + id + ` b ON a.eventid = b.eventid`,
	} {
		out, err := c.StartQuery(ctx, &sdk.StartQueryInput{QueryStatement: &statement})
		if err != nil {
			t.Errorf("%s: %v", statement, err)
			continue
		}
		if p := r.asked.perms; len(p) != 1 || p[0].Action != "cloudtrail:StartQuery" || p[0].Resource != arn {
			t.Errorf("%s: asked for %+v", statement, p)
		}
		if _, err := c.CancelQuery(ctx, &sdk.CancelQueryInput{QueryId: out.QueryId}); err != nil && code(err) != "InactiveQueryException" {
			t.Error(err)
		}
		board, err := c.CreateDashboard(ctx, &sdk.CreateDashboardInput{Name: new("board"),
			Widgets: []types.RequestWidget{{QueryStatement: &statement, ViewProperties: map[string]string{"View": "Table"}}}})
		if err != nil {
			t.Errorf("%s: %v", statement, err)
			continue
		}
		if !slices.ContainsFunc(r.asked.perms, func(p call.Permission) bool { return p.Action == "cloudtrail:StartQuery" && p.Resource == arn }) {
			t.Errorf("%s, on a dashboard: asked for %+v", statement, r.asked.perms)
		}
		if _, err := c.DeleteDashboard(ctx, &sdk.DeleteDashboardInput{DashboardId: board.DashboardArn}); err != nil {
			t.Error(err)
		}
	}
}

// TestQueryNamesForeignStore: who has no right on a store of another account is
// not told whether it is there.
func TestQueryNamesForeignStore(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, c := t.Context(), r.client(region)
	own := *r.newStore(c, "main").EventDataStoreArn
	other := sdk.New(sdk.Options{Region: region, BaseEndpoint: &r.url, RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider("AKIAOTHER", "secret", "")})
	there := *r.newStore(other, "theirs").EventDataStoreArn
	absent := there[:strings.LastIndexByte(there, '/')] + "/123e4567-e89b-12d3-a456-426614174000"
	id := own[strings.LastIndexByte(own, '/')+1:]
	started, err := c.StartQuery(ctx, &sdk.StartQueryInput{QueryStatement: new("SELECT eventid FROM " + id)})
	if err != nil {
		t.Fatal(err)
	}
	r.asked.set(func(c *call.Call, p call.Permission) bool {
		return p.ResourceAccount != "" && p.ResourceAccount != c.AccountID && p.ResourcePolicy == ""
	})
	for _, query := range []*string{started.QueryId, new("123e4567-e89b-12d3-a456-426614174001")} {
		for name, do := range map[string]func(store *string) error{
			"DescribeQuery": func(store *string) error {
				_, err := c.DescribeQuery(ctx, &sdk.DescribeQueryInput{QueryId: query, EventDataStore: store})
				return err
			},
			"GetQueryResults": func(store *string) error {
				_, err := c.GetQueryResults(ctx, &sdk.GetQueryResultsInput{QueryId: query, EventDataStore: store})
				return err
			},
			"CancelQuery": func(store *string) error {
				_, err := c.CancelQuery(ctx, &sdk.CancelQueryInput{QueryId: query, EventDataStore: store})
				return err
			},
		} {
			for _, store := range []string{there, absent} {
				if err := do(&store); code(err) != "AccessDeniedException" || !strings.Contains(err.Error(), "cloudtrail:"+name+" on resource: "+store) {
					t.Errorf("%s, %s: %v", name, store, err)
				}
			}
		}
	}
	if _, err := c.DescribeQuery(ctx, &sdk.DescribeQueryInput{QueryId: started.QueryId, EventDataStore: &own}); err != nil {
		t.Error(err)
	}
}

// TestDashboards: a dashboard keeps queries that can run.
func TestDashboards(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, c := t.Context(), r.client(region)
	arn := *r.newStore(c, "main").EventDataStoreArn
	id := arn[strings.LastIndexByte(arn, '/')+1:]
	of := func(statement string) []types.RequestWidget {
		return []types.RequestWidget{{QueryStatement: &statement, ViewProperties: map[string]string{"View": "Table"}}}
	}
	in := &sdk.CreateDashboardInput{Name: new("board"), Widgets: of("SELECT count(*) FROM " + id), TerminationProtectionEnabled: new(true)}
	out, err := c.CreateDashboard(ctx, in)
	if err != nil || *out.DashboardArn != "arn:aws:cloudtrail:us-east-1:"+account+":dashboard/board" || *out.Widgets[0].QueryStatement != "SELECT count(*) FROM "+id {
		t.Fatalf("%+v, %v", out, err)
	}
	if _, err := c.CreateDashboard(ctx, in); code(err) != "ConflictException" {
		t.Errorf("twice: %v", err)
	}
	in.Name, in.Widgets = new("other"), of("SELECT colour FROM "+id)
	if _, err := c.CreateDashboard(ctx, in); code(err) != "InvalidQueryStatementException" {
		t.Errorf("a query that cannot run: %v", err)
	}
	in.Widgets = of("SELECT count(*) FROM " + id + " WHERE eventName = ?")
	in.Widgets[0].QueryParameters = []string{"CreateTrail"}
	if _, err := c.CreateDashboard(ctx, in); code(err) != "InvalidQueryStatementException" {
		t.Errorf("a parameter that is none: %v", err)
	}
	if _, err := c.DeleteDashboard(ctx, &sdk.DeleteDashboardInput{DashboardId: new("board")}); code(err) != "ConflictException" {
		t.Errorf("protected: %v", err)
	}
	up, err := c.UpdateDashboard(ctx, &sdk.UpdateDashboardInput{DashboardId: out.DashboardArn, TerminationProtectionEnabled: new(false)})
	if err != nil || len(up.Widgets) != 1 {
		t.Errorf("%+v, %v", up, err)
	}
	if got, err := c.GetDashboard(ctx, &sdk.GetDashboardInput{DashboardId: new("board")}); err != nil || got.Status != types.DashboardStatusUpdated {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := c.DeleteDashboard(ctx, &sdk.DeleteDashboardInput{DashboardId: new("board")}); err != nil {
		t.Error(err)
	}
	if l, err := c.ListDashboards(ctx, &sdk.ListDashboardsInput{}); err != nil || len(l.Dashboards) != 0 {
		t.Errorf("%+v, %v", l, err)
	}
}

// TestActivityQuery asks a store of outside events.
func TestActivityQuery(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.client(region)
	arn := *r.newStore(c, "outside", selects("eventCategory", "ActivityAuditLog")).EventDataStoreArn
	id := arn[strings.LastIndexByte(arn, '/')+1:]
	ch, err := c.CreateChannel(t.Context(), &sdk.CreateChannelInput{Name: new("app"), Source: new("Custom"),
		Destinations: []types.Destination{{Type: types.DestinationTypeEventDataStore, Location: &arn}}})
	if err != nil {
		t.Fatal(err)
	}
	var events []map[string]any
	for i := range 3 {
		events = append(events, map[string]any{"id": fmt.Sprint(i), "eventData": event(func(m map[string]any) { m["eventName"] = fmt.Sprintf("Login%d", i) })})
	}
	if status, kind, _ := r.put(*ch.ChannelArn, events...); status != 200 {
		t.Fatal(kind)
	}
	rows, _ := r.query(c, `SELECT eventData.eventName, eventCategory FROM `+id+` WHERE eventTime = '2026-11-01 10:00:00' ORDER BY 1`)
	if d := cmp.Diff([]string{"eventname=Login0 eventcategory=ActivityAuditLog", "eventname=Login1 eventcategory=ActivityAuditLog", "eventname=Login2 eventcategory=ActivityAuditLog"}, rows); d != "" {
		t.Error(d)
	}
}
