package cloudtrail

import (
	"strings"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/record"
	"spoor/internal/trail"
)

// Limits of dashboards (CloudTrail user guide, "Quotas in AWS CloudTrail").
const (
	maxDashboards = 100
	maxWidgets    = 10
)

const dashboardType = "AWS::CloudTrail::Dashboard"

// dashboard is a custom dashboard or the Highlights dashboard.
type dashboard struct {
	Account   string      `json:"account"`
	Region    string      `json:"region"`
	Name      string      `json:"name"`
	Widgets   []widget    `json:"widgets"`
	Schedule  *schedule   `json:"schedule,omitempty"`
	Protected bool        `json:"protected"`
	Created   time.Time   `json:"created"`
	Updated   time.Time   `json:"updated"`
	Changed   bool        `json:"changed"` // since its creation
	Tags      []trail.Tag `json:"tags,omitempty"`
	Policy    string      `json:"policy,omitempty"`
	// Refresh is the last refresh's id, Scheduled the last time of the schedule
	// that was seen to.
	Refresh        string    `json:"refresh,omitempty"`
	RefreshFailure string    `json:"refreshFailure,omitempty"`
	Scheduled      time.Time `json:"scheduled,omitzero"`
}

type widget struct {
	Alias      string            `json:"alias"`
	Query      string            `json:"query"`
	Parameters []string          `json:"parameters,omitempty"`
	View       map[string]string `json:"view"`
}

type schedule struct {
	Unit  string `json:"unit,omitempty"`
	Value int32  `json:"value,omitempty"`
	Time  string `json:"time,omitempty"`

	Enabled bool      `json:"enabled,omitempty"`
	Since   time.Time `json:"since,omitzero"` // it holds from here on
}

var dashboards = table[dashboard]{"dashboard"}

func dashboardARNOf(account, region, name string) string {
	return aws.NewARN("cloudtrail", region, account, "dashboard/"+name).String()
}

func (x *dashboard) kind() types.DashboardType {
	if x.managed() {
		return types.DashboardTypeManaged
	}
	return types.DashboardTypeCustom
}

func (x *dashboard) arn() string { return dashboardARNOf(x.Account, x.Region, x.Name) }

func (s *api) dashboardOperations() []call.Operation {
	return []call.Operation{
		call.Op("CreateDashboard", func(c *call.Call, in *sdk.CreateDashboardInput) ([]call.Permission, error) {
			p := call.Permission{Action: "cloudtrail:CreateDashboard", Resource: dashboardARNOf(c.AccountID, c.Region, str(in.Name)), Context: tagKeys(in.TagsList)}
			out := append([]call.Permission{p}, s.widgetPermissions(c, in.Widgets)...)
			if len(in.TagsList) > 0 {
				p.Action = "cloudtrail:AddTags"
				out = append(out, p)
			}
			return out, nil
		}, handle(s.createDashboard), call.Describe(func(c *call.Call, in *sdk.CreateDashboardInput, _ *sdk.CreateDashboardOutput, _ error, r *record.Record) {
			r.Resources = append(r.Resources, record.Resource{Type: dashboardType, ARN: dashboardARNOf(c.AccountID, c.Region, str(in.Name)), AccountID: c.AccountID})
		})),
		call.Op("GetDashboard", func(c *call.Call, in *sdk.GetDashboardInput) ([]call.Permission, error) {
			p, err := s.dashboardPermission(c, "GetDashboard", str(in.DashboardId))
			return []call.Permission{p}, err
		}, handle(s.getDashboard), call.ReadOnly),
		call.Op("UpdateDashboard", func(c *call.Call, in *sdk.UpdateDashboardInput) ([]call.Permission, error) {
			p, err := s.dashboardPermission(c, "UpdateDashboard", str(in.DashboardId))
			return append([]call.Permission{p}, s.widgetPermissions(c, in.Widgets)...), err
		}, handle(s.updateDashboard)),
		call.Op("DeleteDashboard", func(c *call.Call, in *sdk.DeleteDashboardInput) ([]call.Permission, error) {
			p, err := s.dashboardPermission(c, "DeleteDashboard", str(in.DashboardId))
			return []call.Permission{p}, err
		}, handle(s.deleteDashboard)),
		call.Op("ListDashboards", onAll[sdk.ListDashboardsInput]("ListDashboards"), handle(s.listDashboards), call.ReadOnly,
			call.Partial("of AWS's managed dashboards only Highlights can be made: the queries of the others are not published")),
		call.Op("StartDashboardRefresh", func(c *call.Call, in *sdk.StartDashboardRefreshInput) ([]call.Permission, error) {
			p, err := s.dashboardPermission(c, "StartDashboardRefresh", str(in.DashboardId))
			return []call.Permission{p}, err
		}, handle(s.refreshDashboard)),
	}
}

func dashboardARN(c *call.Call, id string) string {
	if strings.HasPrefix(id, "arn:") {
		return id
	}
	return dashboardARNOf(c.AccountID, c.Region, id)
}

func (s *api) dashboardPermission(c *call.Call, op, id string) (call.Permission, error) {
	p := call.Permission{Action: "cloudtrail:" + op, Resource: dashboardARN(c, id)}
	name, account, _ := splitARN(p.Resource, "dashboard")
	p.ResourceAccount = account
	if name == "" {
		return p, nil
	}
	x, err := dashboards.get(s.store, account, c.Region, name)
	if x != nil {
		p.ResourcePolicy, p.Context = x.Policy, trail.ResourceTags(x.Tags)
	}
	return p, err
}

// widgetPermissions: who puts a query on a dashboard must be allowed to run it.
func (s *api) widgetPermissions(c *call.Call, widgets []types.RequestWidget) []call.Permission {
	var out []call.Permission
	for _, w := range widgets {
		for _, id := range storesNamed(str(w.QueryStatement)) {
			out = append(out, s.storePermission(c, "StartQuery", id))
		}
	}
	return out
}

func (s *api) findDashboard(c *call.Call, id string) (*dashboard, error) {
	arn := dashboardARN(c, id)
	name, account, region := splitARN(arn, "dashboard")
	if name == "" || region != c.Region {
		return nil, resourceNotFound(arn)
	}
	x, err := dashboards.get(s.store, account, region, name)
	if err == nil && x == nil {
		err = resourceNotFound(arn)
	}
	return x, err
}

func (s *api) widgets(c *call.Call, in []types.RequestWidget) ([]widget, error) {
	if len(in) > maxWidgets {
		return nil, &aws.Error{Op: "cloudtrail", Kind: aws.LimitExceeded, Code: "ServiceQuotaExceededException", Message: "A dashboard can have at most 10 widgets."}
	}
	out := []widget{}
	for _, w := range in {
		if err := checkParameters(w.QueryParameters); err != nil {
			return nil, err
		}
		// The alias is what DescribeQuery and StartQuery know the query by.
		x := widget{"Widget-" + call.NewID(), str(w.QueryStatement), w.QueryParameters, w.ViewProperties}
		if _, err := s.checkStatement(c, x.Query, x.bind(parameterValues(s.lake.Now(), nil)), nil); err != nil {
			return nil, err
		}
		out = append(out, x)
	}
	return out, nil
}

func (s *api) createDashboard(c *call.Call, in *sdk.CreateDashboardInput) (*sdk.CreateDashboardOutput, error) {
	now := s.lake.Now()
	x := &dashboard{Account: c.AccountID, Region: c.Region, Name: str(in.Name), Protected: truth(in.TerminationProtectionEnabled), Created: now, Updated: now}
	var err error
	if x.Schedule, err = checkSchedule(in.RefreshSchedule, x.managed()); err != nil {
		return nil, err
	}
	if x.Schedule != nil {
		x.Schedule.Since = now
	}
	if x.managed() && (x.Schedule == nil || !x.Schedule.Enabled || len(in.Widgets) > 0) {
		return nil, invalid("InvalidParameterException", "The Highlights dashboard takes no widgets and needs a RefreshSchedule with Status ENABLED and a Frequency.")
	}
	if x.Widgets, err = s.widgets(c, in.Widgets); err != nil {
		return nil, err
	}
	if x.managed() {
		x.Widgets = s.highlights(x)
	}
	if x.Tags, err = mergeTags(nil, in.TagsList); err != nil {
		return nil, err
	}
	s.lake.Lock(c)
	all, err := dashboards.list(s.store, c.AccountID, c.Region)
	if err != nil {
		return nil, err
	}
	for _, other := range all {
		if other.Name == x.Name {
			return nil, &aws.Error{Op: "cloudtrail.CreateDashboard", Kind: aws.Conflict, Code: "ConflictException", Message: "A dashboard with the name " + x.Name + " already exists."}
		}
	}
	if len(all) >= maxDashboards {
		return nil, &aws.Error{Op: "cloudtrail.CreateDashboard", Kind: aws.LimitExceeded, Code: "ServiceQuotaExceededException",
			Message: "The maximum number of custom dashboards in the account has been reached: 100."}
	}
	if err := dashboards.put(c, x, x.Account, x.Region, x.Name); err != nil {
		return nil, err
	}
	return &sdk.CreateDashboardOutput{DashboardArn: new(x.arn()), Name: &x.Name, Type: x.kind(), Widgets: sdkWidgets(x.Widgets),
		TagsList: sdkTags(x.Tags), RefreshSchedule: sdkSchedule(x.Schedule), TerminationProtectionEnabled: &x.Protected}, nil
}

func sdkWidgets(list []widget) []types.Widget {
	out := make([]types.Widget, 0, len(list))
	for _, w := range list {
		out = append(out, types.Widget{QueryAlias: &w.Alias, QueryStatement: &w.Query, QueryParameters: w.Parameters, ViewProperties: w.View})
	}
	return out
}

func sdkSchedule(x *schedule) *types.RefreshSchedule {
	if x == nil {
		return nil
	}
	out := &types.RefreshSchedule{Status: types.RefreshScheduleStatusDisabled, TimeOfDay: optional(x.Time)}
	if x.Enabled {
		out.Status = types.RefreshScheduleStatusEnabled
	}
	if x.Unit != "" {
		out.Frequency = &types.RefreshScheduleFrequency{Unit: types.RefreshScheduleFrequencyUnit(x.Unit), Value: &x.Value}
	}
	return out
}

func (s *api) getDashboard(c *call.Call, in *sdk.GetDashboardInput) (*sdk.GetDashboardOutput, error) {
	x, err := s.findDashboard(c, str(in.DashboardId))
	if err != nil {
		return nil, err
	}
	status := types.DashboardStatusCreated
	if x.Changed {
		status = types.DashboardStatusUpdated
	}
	return &sdk.GetDashboardOutput{DashboardArn: new(x.arn()), Type: x.kind(), Status: status, Widgets: sdkWidgets(x.Widgets),
		RefreshSchedule: sdkSchedule(x.Schedule), CreatedTimestamp: &x.Created, UpdatedTimestamp: &x.Updated, TerminationProtectionEnabled: &x.Protected,
		LastRefreshId: optional(x.Refresh), LastRefreshFailureReason: optional(x.RefreshFailure)}, nil
}

func (s *api) updateDashboard(c *call.Call, in *sdk.UpdateDashboardInput) (*sdk.UpdateDashboardOutput, error) {
	list, err := s.widgets(c, in.Widgets)
	if err != nil {
		return nil, err
	}
	s.lake.Lock(c)
	x, err := s.findDashboard(c, str(in.DashboardId))
	if err != nil {
		return nil, err
	}
	x.Updated, x.Changed = s.lake.Now(), true
	plan, err := checkSchedule(in.RefreshSchedule, x.managed())
	if err != nil {
		return nil, err
	}
	if plan != nil {
		x.Schedule = plan
		x.Schedule.Since = x.Updated
	}
	if x.managed() && len(in.Widgets) > 0 {
		return nil, invalid("InvalidParameterException", "The Highlights dashboard takes no widgets.")
	}
	if in.Widgets != nil {
		x.Widgets = list
	}
	if in.TerminationProtectionEnabled != nil {
		x.Protected = *in.TerminationProtectionEnabled
	}
	if err := dashboards.put(c, x, x.Account, x.Region, x.Name); err != nil {
		return nil, err
	}
	return &sdk.UpdateDashboardOutput{DashboardArn: new(x.arn()), Name: &x.Name, Type: x.kind(), Widgets: sdkWidgets(x.Widgets),
		RefreshSchedule: sdkSchedule(x.Schedule), TerminationProtectionEnabled: &x.Protected, CreatedTimestamp: &x.Created, UpdatedTimestamp: &x.Updated}, nil
}

func (s *api) deleteDashboard(c *call.Call, in *sdk.DeleteDashboardInput) (*sdk.DeleteDashboardOutput, error) {
	s.lake.Lock(c)
	x, err := s.findDashboard(c, str(in.DashboardId))
	if err != nil {
		return nil, err
	}
	if x.Protected {
		return nil, &aws.Error{Op: "cloudtrail.DeleteDashboard", Kind: aws.Conflict, Code: "ConflictException",
			Message: "The dashboard " + x.arn() + " cannot be deleted because termination protection is enabled for it."}
	}
	dashboards.delete(c, x.Account, x.Region, x.Name)
	return &sdk.DeleteDashboardOutput{}, nil
}

func (s *api) listDashboards(c *call.Call, in *sdk.ListDashboardsInput) (*sdk.ListDashboardsOutput, error) {
	all, err := dashboards.list(s.store, c.AccountID, c.Region)
	if err != nil {
		return nil, err
	}
	var list []*dashboard
	for _, x := range all {
		if (in.Type == "" || in.Type == x.kind()) && strings.HasPrefix(x.Name, str(in.NamePrefix)) {
			list = append(list, x)
		}
	}
	list, next, err := page(list, func(x **dashboard) string { return (*x).Name }, "ListDashboards "+string(in.Type)+str(in.NamePrefix), str(in.NextToken), in.MaxResults, maxListed)
	if err != nil {
		return nil, err
	}
	out := &sdk.ListDashboardsOutput{Dashboards: []types.DashboardDetail{}, NextToken: next}
	for _, x := range list {
		out.Dashboards = append(out.Dashboards, types.DashboardDetail{DashboardArn: new(x.arn()), Type: x.kind()})
	}
	return out, nil
}
