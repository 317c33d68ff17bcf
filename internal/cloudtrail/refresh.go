package cloudtrail

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/kv"
	"spoor/internal/lake"
	"spoor/internal/record"
	"spoor/internal/trail"
)

// The parameters of widgets (CloudTrail API reference, "RequestWidget").
const (
	startParameter  = "$StartTime$"
	endParameter    = "$EndTime$"
	periodParameter = "$Period$"
	storeParameter  = "$EventDataStoreId$"
	// What holds when a refresh gives no values: the last day, by the hour.
	defaultSpan   = 24 * time.Hour
	defaultPeriod = "hour"
	// maxRefreshQueries is how many queries of dashboards an account may have
	// under way.
	maxRefreshQueries = 100
)

// bind gives the values of a widget's parameters.
func (w *widget) bind(values map[string]string) []string {
	out := make([]string, len(w.Parameters))
	for i, p := range w.Parameters {
		out[i] = p
		if v, ok := values[p]; ok {
			out[i] = v
		}
	}
	return out
}

// parameterValues are the values of all parameters at a time; given ones count.
func parameterValues(now time.Time, given map[string]string) map[string]string {
	values := map[string]string{startParameter: now.Add(-defaultSpan).Format(time.RFC3339), endParameter: now.Format(time.RFC3339), periodParameter: defaultPeriod}
	maps.Copy(values, given)
	return values
}

// checkParameters: the parameters of a widget stand for what a refresh gives.
func checkParameters(list []string) error {
	for _, p := range list {
		if p != startParameter && p != endParameter && p != periodParameter {
			return invalid("InvalidQueryStatementException", "The query parameter %s is not valid. Valid parameters: $StartTime$, $EndTime$, $Period$.", p)
		}
	}
	return nil
}

func (s *api) refreshDashboard(c *call.Call, in *sdk.StartDashboardRefreshInput) (*sdk.StartDashboardRefreshOutput, error) {
	s.lake.Lock(c)
	x, err := s.findDashboard(c, str(in.DashboardId))
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(in.QueryParameterValues)) {
		switch name {
		case startParameter, endParameter, periodParameter:
		case storeParameter:
			return nil, invalid("InvalidParameterException", "The query parameter $EventDataStoreId$ is for managed dashboards of one event data store.")
		default:
			return nil, invalid("InvalidParameterException", "The query parameter %s is not valid.", name)
		}
	}
	id, err := s.refresh(c, x, in.QueryParameterValues)
	if err != nil {
		return nil, err
	}
	return &sdk.StartDashboardRefreshOutput{RefreshId: &id}, nil
}

// refresh starts the queries of a dashboard's widgets, in the call's
// transaction. CloudTrail runs them, and needs the permission for it from each
// event data store's policy; a query that it may not run has failed.
func (s *api) refresh(c *call.Call, x *dashboard, given map[string]string) (string, error) {
	now := s.lake.Now()
	if x.managed() {
		x.Widgets = s.highlights(x)
	}
	if err := s.checkRefreshQuota(x); err != nil {
		return "", err
	}
	id := strconv.FormatInt(now.UnixMicro(), 10)
	if id <= x.Refresh { // of the same length until the year 2286
		last, err := strconv.ParseInt(x.Refresh, 10, 64)
		if err != nil {
			return "", fmt.Errorf("the refresh %s of dashboard %s is damaged: %w", x.Refresh, x.Name, err)
		}
		id = strconv.FormatInt(last+1, 10)
	}
	values := parameterValues(now, given)
	as := &call.Call{AccountID: x.Account, Region: x.Region}
	for i := range x.Widgets {
		w := &x.Widgets[i]
		q := &lake.Query{ID: call.NewID(), Account: x.Account, Region: x.Region, Owner: x.Account, SQL: w.Query, Params: w.bind(values), Alias: w.Alias, Refresh: id}
		var err error
		if q.Stores, err = s.checkStatement(as, w.Query, q.Params, nil); err != nil {
			return "", err
		}
		denied, err := s.mayRead(x, q.Stores)
		switch {
		case err != nil:
			return "", err
		case denied != "":
			s.lake.RefuseQuery(c, q, fmt.Sprintf("CloudTrail is not authorized to perform cloudtrail:StartQuery on %s for %s because the resource-based policy of the event data store does not allow it.", denied, x.arn()))
		default:
			s.lake.StartQuery(c, q)
		}
	}
	x.Refresh, x.RefreshFailure = id, ""
	return id, dashboards.put(c, x, x.Account, x.Region, x.Name)
}

func (s *api) checkRefreshQuota(x *dashboard) error {
	all, err := s.lake.Queries(x.Account, x.Region)
	if err != nil {
		return err
	}
	going := 0
	for _, q := range all {
		if q.Going() && q.Refresh != "" {
			going++
		}
	}
	if going+len(x.Widgets) > maxRefreshQueries {
		return &aws.Error{Op: "cloudtrail.StartDashboardRefresh", Kind: aws.LimitExceeded, Code: "ServiceQuotaExceededException",
			Message: "Too many queries of dashboards are under way. Wait for some of them to finish, and then refresh the dashboard again."}
	}
	return nil
}

// mayRead names the first store that does not let CloudTrail run a dashboard's
// queries.
func (s *api) mayRead(x *dashboard, stores []string) (denied string, err error) {
	for _, arn := range stores {
		st := s.lake.Lookup(arn)
		if st == nil {
			return arn, nil
		}
		g := trail.ServiceGrant{Action: "cloudtrail:StartQuery", Resource: arn, Owner: st.Account, Account: x.Account, Source: x.arn()}
		if ok, err := g.Allowed(st.Policy); err != nil || !ok {
			return arn, err
		}
	}
	return "", nil
}

// Schedules of dashboards.

// checkSchedule takes a schedule that AWS takes for a dashboard of the kind.
func checkSchedule(in *types.RefreshSchedule, managed bool) (*schedule, error) {
	bad := func(text string) error {
		return invalid("InvalidParameterException", "The refresh schedule is not valid: %s", text)
	}
	if in == nil {
		return nil, nil
	}
	out := &schedule{Enabled: in.Status == types.RefreshScheduleStatusEnabled, Time: str(in.TimeOfDay)}
	if out.Time != "" {
		if _, err := time.Parse("15:04", out.Time); err != nil {
			return nil, bad("TimeOfDay must be a time of day in the form HH:MM.")
		}
	}
	if f := in.Frequency; f != nil {
		if f.Value == nil || f.Unit == "" {
			return nil, bad("the frequency needs a unit and a value.")
		}
		out.Unit, out.Value = string(f.Unit), *f.Value
		hours := f.Unit == types.RefreshScheduleFrequencyUnitHours
		switch {
		case managed && (!hours || out.Value != 6):
			return nil, bad("the Highlights dashboard is refreshed every 6 hours.")
		case hours && !slices.Contains([]int32{1, 6, 12, 24}, out.Value):
			return nil, bad("with the unit HOURS the value must be 1, 6, 12 or 24.")
		case !hours && out.Value != 1:
			return nil, bad("with the unit DAYS the value must be 1.")
		}
	}
	if out.Enabled && out.Unit == "" {
		return nil, bad("a schedule that is enabled needs a frequency.")
	}
	return out, nil
}

// slot is the latest time of the schedule that is not after now.
func (x *schedule) slot(now time.Time) time.Time {
	every := 24 * time.Hour
	if x.Unit == string(types.RefreshScheduleFrequencyUnitHours) {
		every = time.Duration(x.Value) * time.Hour
	}
	var offset time.Duration
	if at, err := time.Parse("15:04", x.Time); err == nil {
		offset = time.Duration(at.Hour())*time.Hour + time.Duration(at.Minute())*time.Minute
	}
	if every == time.Hour {
		offset %= time.Hour // "for hourly only refer to minutes"
	}
	base := now.UTC().Truncate(24 * time.Hour).Add(offset)
	ahead := now.Sub(base) % every
	if ahead < 0 { // before the day's first
		ahead += every
	}
	return now.UTC().Add(-ahead)
}

// due is when a dashboard is to be refreshed next; ok is false for never.
func (x *dashboard) due(now time.Time) (slot time.Time, ok bool) {
	if x.Schedule == nil || !x.Schedule.Enabled {
		return slot, false
	}
	slot = x.Schedule.slot(now)
	return slot, slot.After(x.Schedule.Since) && slot.After(x.Scheduled)
}

// schedulePause is how exact schedules are: they name minutes.
const schedulePause = 20 * time.Second

// RunDashboards refreshes dashboards by their schedules until ctx ends. Each
// refresh is a call of CloudTrail's own on the path of all calls: it needs the
// permission from the dashboard's policy, and is recorded.
//
// Crash story: what a refresh starts and the slot that it was for are one batch
// with its record. A crash before it leaves the slot due, and the next start
// does it.
func RunDashboards(ctx context.Context, c Config, path *call.Path) error {
	s := newAPI(c)
	for ctx.Err() == nil {
		if err := s.refreshDue(ctx, path); err != nil && ctx.Err() == nil {
			path.Log.Error("dashboards cannot be refreshed and are tried again", "pause", schedulePause, "err", err)
		}
		t := time.NewTimer(schedulePause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
		}
	}
	return nil
}

func (s *api) refreshDue(ctx context.Context, path *call.Path) error {
	all, err := dashboards.all(s.store)
	if err != nil {
		return err
	}
	var failed error
	for _, x := range all {
		slot, ok := x.due(s.lake.Now())
		if !ok || ctx.Err() != nil {
			continue
		}
		c := &call.Call{RequestID: call.NewID(), EventID: call.NewID(), Region: x.Region, AccountID: x.Account, Start: s.lake.Now(),
			Caller: &aws.Caller{Type: aws.AWSService, InvokedBy: trail.ServicePrincipal}, SourceIP: trail.ServicePrincipal, UserAgent: trail.ServicePrincipal}
		if err := path.Run(ctx, c, &scheduled{api: s, x: x, slot: slot}); err != nil {
			failed = errors.Join(failed, s.refreshFailed(x, slot, err))
		}
	}
	return failed
}

// refreshFailed keeps why a slot's refresh did not come about.
func (s *api) refreshFailed(x *dashboard, slot time.Time, cause error) error {
	return s.lake.Change(func(b *kv.Batch) error {
		now, err := dashboards.get(s.store, x.Account, x.Region, x.Name)
		if err != nil || now == nil {
			return err
		}
		now.Scheduled, now.RefreshFailure = slot, aws.AsError(cause).Message
		return dashboards.write(b.Set, now, now.Account, now.Region, now.Name)
	})
}

// scheduled is StartDashboardRefresh as CloudTrail calls it.
type scheduled struct {
	api  *api
	x    *dashboard
	slot time.Time
	id   string
}

var _ call.Step = (*scheduled)(nil)

func (p *scheduled) Permissions(_ *call.Call, dst []call.Permission) ([]call.Permission, error) {
	return append(dst, call.Permission{Action: "cloudtrail:StartDashboardRefresh", Resource: p.x.arn(), ResourcePolicy: p.x.Policy, ResourceAccount: p.x.Account,
		Context: map[string][]string{"aws:sourcearn": {p.x.arn()}, "aws:sourceaccount": {p.x.Account}}}), nil
}

func (p *scheduled) Handle(_ context.Context, c *call.Call) error {
	p.api.lake.Lock(c)
	x, err := p.api.findDashboard(c, p.x.arn())
	if err != nil {
		return err
	}
	x.Scheduled = p.slot
	p.id, err = p.api.refresh(c, x, nil)
	return err
}

func (p *scheduled) Events() int { return 1 }

func (p *scheduled) Category(int) record.Category { return record.Management }

func (p *scheduled) External() bool { return false }

func (p *scheduled) Describe(_ *call.Call, _ int, err error, r *record.Record) {
	r.EventSource, r.EventName, r.APIVersion = "cloudtrail.amazonaws.com", "StartDashboardRefresh", "2013-11-01"
	r.RequestParameters = append(record.AppendString([]byte(`{"dashboardId":`), p.x.arn()), '}')
	if err == nil {
		r.ResponseElements = append(record.AppendString([]byte(`{"refreshId":`), p.id), '}')
	}
	r.Resources = append(r.Resources, record.Resource{Type: dashboardType, ARN: p.x.arn(), AccountID: p.x.Account})
}

// highlightsName is the one name that AWS keeps for a dashboard of its own.
const highlightsName = "AWSCloudTrail-Highlights"

func (x *dashboard) managed() bool { return x.Name == highlightsName }

// highlights are the widgets of the Highlights dashboard: what happened in all
// event data stores of CloudTrail events that the account has now. AWS does not
// publish the queries of its own; these are ours.
func (s *api) highlights(x *dashboard) []widget {
	var from []string
	for _, st := range s.lake.Stores(x.Account, x.Region) {
		if st.Deleted.IsZero() && class(st) == classOf(nil) {
			from = append(from, "SELECT eventID, eventTime, eventSource, eventName, errorCode, readOnly, recipientAccountId, userIdentity.type AS caller, "+
				"userIdentity.arn AS arn, userIdentity.accountId AS account FROM "+st.ID+" WHERE eventTime >= '?' AND eventTime <= '?'")
		}
	}
	if len(from) == 0 {
		return nil
	}
	events := "WITH events AS (" + strings.Join(from, " UNION ") + ") "
	var params []string
	for range from {
		params = append(params, startParameter, endParameter)
	}
	if len(params) > maxQueryParameters {
		params, events = params[:maxQueryParameters], "WITH events AS ("+strings.Join(from[:maxQueryParameters/2], " UNION ")+") "
	}
	var out []widget
	for _, w := range []struct{ alias, title, view, sql string }{
		{"HighlightsEvents", "Events by hour", "LineChart", "SELECT date_trunc('hour', eventTime) AS time, count(*) AS events FROM events GROUP BY 1 ORDER BY 1"},
		{"HighlightsServices", "Most active services", "BarChart", "SELECT eventSource, count(*) AS events FROM events GROUP BY eventSource ORDER BY events DESC, eventSource LIMIT 10"},
		{"HighlightsCallers", "Most active callers", "Table", "SELECT arn, count(*) AS events FROM events WHERE arn IS NOT NULL GROUP BY arn ORDER BY events DESC, arn LIMIT 10"},
		{"HighlightsErrors", "Most frequent errors", "Table", "SELECT errorCode, count(*) AS events FROM events WHERE errorCode IS NOT NULL GROUP BY errorCode ORDER BY events DESC, errorCode LIMIT 10"},
		{"HighlightsChanges", "Most frequent changes", "Table", "SELECT eventSource, eventName, count(*) AS events FROM events WHERE readOnly = false GROUP BY eventSource, eventName ORDER BY events DESC, eventName LIMIT 10"},
		{"HighlightsCrossAccount", "Calls from other accounts", "Table", "SELECT account, count(*) AS events FROM events WHERE account <> recipientAccountId GROUP BY account ORDER BY events DESC, account LIMIT 10"},
		{"HighlightsRoot", "Calls of root users", "Table", "SELECT eventName, count(*) AS events FROM events WHERE caller = 'Root' GROUP BY eventName ORDER BY events DESC, eventName LIMIT 10"},
	} {
		out = append(out, widget{Alias: w.alias, Query: events + w.sql, Parameters: params, View: map[string]string{"View": w.view, "Title": w.title}})
	}
	return out
}

// maxQueryParameters is the model's limit on the parameters of a query.
const maxQueryParameters = 10
