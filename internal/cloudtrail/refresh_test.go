package cloudtrail

import (
	"slices"
	"strings"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"
	"github.com/google/go-cmp/cmp"

	"spoor/internal/call"
	"spoor/internal/kv"
	"spoor/internal/lake"
)

func TestScheduleSlots(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		s         schedule
		now, want string
	}{
		{schedule{Unit: "HOURS", Value: 1}, "2026-11-25T10:20:30Z", "2026-11-25T10:00:00Z"},
		{schedule{Unit: "HOURS", Value: 1, Time: "07:30"}, "2026-11-25T10:20:30Z", "2026-11-25T09:30:00Z"},
		{schedule{Unit: "HOURS", Value: 6}, "2026-11-25T10:20:30Z", "2026-11-25T06:00:00Z"},
		{schedule{Unit: "HOURS", Value: 6, Time: "05:00"}, "2026-11-25T04:59:59Z", "2026-11-24T23:00:00Z"},
		{schedule{Unit: "HOURS", Value: 12, Time: "01:15"}, "2026-11-25T13:15:00Z", "2026-11-25T13:15:00Z"},
		{schedule{Unit: "HOURS", Value: 24, Time: "23:59"}, "2026-11-25T10:20:30Z", "2026-11-24T23:59:00Z"},
		{schedule{Unit: "DAYS", Value: 1, Time: "08:00"}, "2026-11-25T10:20:30Z", "2026-11-25T08:00:00Z"},
		{schedule{Unit: "DAYS", Value: 1, Time: "12:00"}, "2026-11-25T10:20:30Z", "2026-11-24T12:00:00Z"},
	} {
		now, err := time.Parse(time.RFC3339, tt.now)
		if err != nil {
			t.Fatal(err)
		}
		if got := tt.s.slot(now).Format(time.RFC3339); got != tt.want {
			t.Errorf("%+v at %s: %s, want %s", tt.s, tt.now, got, tt.want)
		}
	}
}

func (r *rig) alias(c *sdk.Client, alias, refresh *string) *sdk.DescribeQueryOutput {
	r.t.Helper()
	var d *sdk.DescribeQueryOutput
	until(r.t, func() bool {
		var err error
		if d, err = c.DescribeQuery(r.t.Context(), &sdk.DescribeQueryInput{QueryAlias: alias, RefreshId: refresh}); err != nil {
			r.t.Fatal(err)
		}
		return d.QueryStatus != types.QueryStatusQueued && d.QueryStatus != types.QueryStatusRunning
	})
	return d
}

func storePolicy(arn string) string {
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"cloudtrail.amazonaws.com"},"Action":"cloudtrail:StartQuery","Resource":"` + arn +
		`","Condition":{"StringLike":{"AWS:SourceArn":"arn:aws:cloudtrail:us-east-1:123456789012:dashboard/*"},"StringEquals":{"AWS:SourceAccount":"123456789012"}}}]}`
}

// TestLater: of two refreshes in one millisecond the second one's query is the last.
func TestLater(t *testing.T) {
	t.Parallel()
	at := time.Unix(1795666499, 471e6)
	first, second := &lake.Query{Created: at, Refresh: "1795666499471000"}, &lake.Query{Created: at, Refresh: "1795666499471001"}
	next := &lake.Query{Created: at.Add(time.Millisecond)}
	for _, x := range [][2]*lake.Query{{second, first}, {next, second}, {next, first}} {
		if !later(x[0], x[1]) || later(x[1], x[0]) {
			t.Errorf("%+v does not come after %+v", x[0], x[1])
		}
	}
}

// TestDashboardRefresh: a refresh runs the widgets' queries as CloudTrail, which
// the event data store's policy must allow.
func TestDashboardRefresh(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, c := t.Context(), r.client(region)
	arn := *r.newStore(c, "main").EventDataStoreArn
	id := arn[strings.LastIndexByte(arn, '/')+1:]
	if _, err := c.CreateTrail(ctx, create("one-trail")); err != nil {
		t.Fatal(err)
	}
	out, err := c.CreateDashboard(ctx, &sdk.CreateDashboardInput{Name: new("board"), Widgets: []types.RequestWidget{{
		QueryStatement:  new("SELECT date_trunc('?', eventTime) AS t, count(*) AS n FROM " + id + " WHERE eventName = 'CreateTrail' AND eventTime >= '?' AND eventTime < '?' GROUP BY 1"),
		QueryParameters: []string{"$Period$", "$StartTime$", "$EndTime$"}, ViewProperties: map[string]string{"View": "Table"}}}})
	if err != nil {
		t.Fatal(err)
	}
	alias := out.Widgets[0].QueryAlias
	if _, err := c.DescribeQuery(ctx, &sdk.DescribeQueryInput{QueryAlias: alias}); code(err) != "QueryIdNotFoundException" {
		t.Errorf("before any refresh: %v", err)
	}
	now := time.Now().UTC()
	values := map[string]string{"$StartTime$": now.Add(-time.Hour).Format(time.RFC3339), "$EndTime$": now.Add(time.Hour).Format(time.RFC3339), "$Period$": "day"}
	refresh := func() *string {
		t.Helper()
		got, err := c.StartDashboardRefresh(ctx, &sdk.StartDashboardRefreshInput{DashboardId: new("board"), QueryParameterValues: values})
		if err != nil {
			t.Fatal(err)
		}
		return got.RefreshId
	}
	first := refresh()
	if d := r.alias(c, alias, first); d.QueryStatus != types.QueryStatusFailed || !strings.Contains(*d.ErrorMessage, "not authorized to perform cloudtrail:StartQuery on "+arn) {
		t.Errorf("without a policy: %s %v", d.QueryStatus, d.ErrorMessage)
	}
	if _, err := c.PutResourcePolicy(ctx, &sdk.PutResourcePolicyInput{ResourceArn: &arn, ResourcePolicy: new(storePolicy(arn))}); err != nil {
		t.Fatal(err)
	}
	second := refresh()
	d := r.alias(c, alias, nil)
	if d.QueryStatus != types.QueryStatusFinished || *first == *second {
		t.Fatalf("refresh %s after %s: %s %v", *second, *first, d.QueryStatus, d.ErrorMessage)
	}
	rows, err := c.GetQueryResults(ctx, &sdk.GetQueryResultsInput{QueryId: d.QueryId})
	if err != nil || len(rows.QueryResultRows) != 1 || rows.QueryResultRows[0][1]["n"] != "1" {
		t.Errorf("%+v, %v", rows, err)
	}
	if old := r.alias(c, alias, first); *old.QueryId == *d.QueryId {
		t.Error("the first refresh has the second one's query")
	}
	if _, err := c.DescribeQuery(ctx, &sdk.DescribeQueryInput{QueryAlias: alias, RefreshId: new("1234567890")}); code(err) != "QueryIdNotFoundException" {
		t.Errorf("an unknown refresh: %v", err)
	}
	got, err := c.GetDashboard(ctx, &sdk.GetDashboardInput{DashboardId: out.DashboardArn})
	if err != nil || *got.LastRefreshId != *second {
		t.Errorf("%+v, %v", got, err)
	}
	// The alias is a template that StartQuery takes.
	q, err := c.StartQuery(ctx, &sdk.StartQueryInput{QueryAlias: alias, QueryParameters: []string{"hour", values["$StartTime$"], values["$EndTime$"]}})
	if err != nil {
		t.Fatal(err)
	}
	if d := r.alias(c, alias, nil); *d.QueryId != *q.QueryId || d.QueryStatus != types.QueryStatusFinished {
		t.Errorf("%+v", d)
	}
	for name, in := range map[string]map[string]string{"unknown": {"$Colour$": "red"}, "managed": {"$EventDataStoreId$": id}} {
		if _, err := c.StartDashboardRefresh(ctx, &sdk.StartDashboardRefreshInput{DashboardId: new("board"), QueryParameterValues: in}); code(err) != "InvalidParameterException" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDashboardSchedule: a schedule's time comes, and CloudTrail refreshes the
// dashboard by a call that is recorded.
func TestDashboardSchedule(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, c := t.Context(), r.client(region)
	arn := *r.newStore(c, "main").EventDataStoreArn
	id := arn[strings.LastIndexByte(arn, '/')+1:]
	for name, in := range map[string]*types.RefreshSchedule{
		"no frequency": {Status: types.RefreshScheduleStatusEnabled},
		"hours":        {Status: types.RefreshScheduleStatusEnabled, Frequency: &types.RefreshScheduleFrequency{Unit: "HOURS", Value: new(int32(5))}},
		"days":         {Status: types.RefreshScheduleStatusEnabled, Frequency: &types.RefreshScheduleFrequency{Unit: "DAYS", Value: new(int32(2))}},
		"time":         {Status: types.RefreshScheduleStatusDisabled, TimeOfDay: new("25:00")},
	} {
		if _, err := c.CreateDashboard(ctx, &sdk.CreateDashboardInput{Name: new("board"), RefreshSchedule: in}); code(err) != "InvalidParameterException" {
			t.Errorf("%s: %v", name, err)
		}
	}
	plan := &types.RefreshSchedule{Status: types.RefreshScheduleStatusEnabled, Frequency: &types.RefreshScheduleFrequency{Unit: "HOURS", Value: new(int32(6))}}
	if _, err := c.CreateDashboard(ctx, &sdk.CreateDashboardInput{Name: new(highlightsName)}); code(err) != "InvalidParameterException" {
		t.Errorf("highlights without a schedule: %v", err)
	}
	out, err := c.CreateDashboard(ctx, &sdk.CreateDashboardInput{Name: new(highlightsName), RefreshSchedule: plan})
	if err != nil || out.Type != types.DashboardTypeManaged || len(out.Widgets) == 0 {
		t.Fatalf("%+v, %v", out, err)
	}
	if l, err := c.ListDashboards(ctx, &sdk.ListDashboardsInput{Type: types.DashboardTypeManaged}); err != nil || len(l.Dashboards) != 1 {
		t.Errorf("%+v, %v", l, err)
	}
	if l, err := c.ListDashboards(ctx, &sdk.ListDashboardsInput{Type: types.DashboardTypeCustom}); err != nil || len(l.Dashboards) != 0 {
		t.Errorf("%+v, %v", l, err)
	}
	if _, err := c.PutResourcePolicy(ctx, &sdk.PutResourcePolicyInput{ResourceArn: &arn, ResourcePolicy: new(storePolicy(arn))}); err != nil {
		t.Fatal(err)
	}
	s := newAPI(r.conf)
	refreshID := func() string {
		t.Helper()
		if err := s.refreshDue(ctx, r.path); err != nil {
			t.Fatal(err)
		}
		x, err := dashboards.get(r.store, account, region, highlightsName)
		if err != nil {
			t.Fatal(err)
		}
		return x.Refresh
	}
	if got := refreshID(); got != "" {
		t.Error("a dashboard was refreshed before its time")
	}
	if err := r.lake.Change(func(b *kv.Batch) error {
		x, err := dashboards.get(r.store, account, region, highlightsName)
		if err != nil {
			return err
		}
		x.Schedule.Since = x.Schedule.Since.Add(-6 * time.Hour)
		return dashboards.write(b.Set, x, account, region, highlightsName)
	}); err != nil {
		t.Fatal(err)
	}
	first := refreshID()
	if first == "" || !slices.ContainsFunc(r.asked.perms, func(p call.Permission) bool {
		return p.Action == "cloudtrail:StartDashboardRefresh" && p.Resource == *out.DashboardArn
	}) {
		t.Fatalf("refresh %q asked for %+v", first, r.asked.perms)
	}
	if again := refreshID(); again != first {
		t.Error("one slot was refreshed twice")
	}
	for _, w := range out.Widgets {
		if d := r.alias(c, w.QueryAlias, &first); d.QueryStatus != types.QueryStatusFinished {
			t.Errorf("%s: %s %v", *w.QueryAlias, d.QueryStatus, d.ErrorMessage)
		}
	}
	rows, _ := r.query(c, "SELECT userIdentity.type AS kind, userIdentity.invokedBy AS who, element_at(responseElements, 'refreshId') AS id FROM "+id+" WHERE eventName = 'StartDashboardRefresh'")
	if d := cmp.Diff([]string{"kind=AWSService who=cloudtrail.amazonaws.com id=" + first}, rows); d != "" {
		t.Error(d)
	}
}
