package athena

import (
	"context"
	"encoding/json"
	"errors"
	"sort"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/athena"
	"github.com/aws/aws-sdk-go-v2/service/athena/types"

	"spoor/internal/call"
	"spoor/internal/kv"
)

// minCutoff is the least limit of bytes that a query may scan (Athena API
// reference, WorkGroupConfiguration).
const minCutoff = 10_000_000

// queryLacks is what statements cannot be.
const queryLacks = "SELECT, EXPLAIN, SHOW, DESCRIBE and Hive DDL run; CTAS, INSERT, UPDATE, DELETE, MERGE, UNLOAD, views, PREPARE, EXECUTE, tables of Iceberg, information_schema and $partitions do not"

const workGroupLacks = "Spark, Identity Center, managed results, KMS keys, access grants and requester pays are refused; metrics are not published"

func (s *Service) workGroupOperations() []call.Operation {
	return []call.Operation{
		call.Op("GetWorkGroup", func(c *call.Call, in *sdk.GetWorkGroupInput) ([]call.Permission, error) {
			return s.onWorkGroup(c, "GetWorkGroup", in.WorkGroup), nil
		}, s.getWorkGroup, call.ReadOnly),
		call.Op("ListWorkGroups", func(*call.Call, *sdk.ListWorkGroupsInput) ([]call.Permission, error) {
			return []call.Permission{{Action: "athena:ListWorkGroups", Resource: "*"}}, nil
		}, s.listWorkGroups, call.ReadOnly),
		call.Op("CreateWorkGroup", func(c *call.Call, in *sdk.CreateWorkGroupInput) ([]call.Permission, error) {
			return creating("CreateWorkGroup", workGroupARN(c, str(in.Name)), in.Tags), nil
		}, s.createWorkGroup, call.Partial(workGroupLacks)),
		call.Op("UpdateWorkGroup", func(c *call.Call, in *sdk.UpdateWorkGroupInput) ([]call.Permission, error) {
			return s.onWorkGroup(c, "UpdateWorkGroup", in.WorkGroup), nil
		}, s.updateWorkGroup, call.Partial(workGroupLacks)),
		call.Op("DeleteWorkGroup", func(c *call.Call, in *sdk.DeleteWorkGroupInput) ([]call.Permission, error) {
			return s.onWorkGroup(c, "DeleteWorkGroup", in.WorkGroup), nil
		}, s.deleteWorkGroup),
		call.Op("ListEngineVersions", func(*call.Call, *sdk.ListEngineVersionsInput) ([]call.Permission, error) {
			return []call.Permission{{Action: "athena:ListEngineVersions", Resource: "*"}}, nil
		}, s.listEngineVersions, call.ReadOnly),
	}
}

// onWorkGroup needs a right on a work group, which its tags may decide.
func (s *Service) onWorkGroup(c *call.Call, op string, name *string) []call.Permission {
	p := call.Permission{Action: "athena:" + op, Resource: workGroupARN(c, workGroupOr(name))}
	if w, err := s.workGroup(c, workGroupOr(name)); err == nil {
		p.Context = resourceTags(w.Tags)
	}
	return []call.Permission{p}
}

// workGroup is a work group and its configuration.
type workGroup struct {
	Name, Description string
	State             types.WorkGroupState
	Configuration     *types.WorkGroupConfiguration
	Tags              []types.Tag
	Created           time.Time
}

func (w *workGroup) disabled() bool { return w.State == types.WorkGroupStateDisabled }

func (w *workGroup) state() types.WorkGroupState {
	if w.State == "" {
		return types.WorkGroupStateEnabled
	}
	return w.State
}

// cutoff is the limit of bytes that a query may scan, 0 without one.
func (w *workGroup) cutoff() int64 {
	if w.Configuration == nil || w.Configuration.BytesScannedCutoffPerQuery == nil {
		return 0
	}
	return *w.Configuration.BytesScannedCutoffPerQuery
}

func (w *workGroup) enforced() bool {
	return w.Configuration != nil && isTrue(w.Configuration.EnforceWorkGroupConfiguration) && w.output() != ""
}

func (w *workGroup) output() string {
	if w.Configuration == nil || w.Configuration.ResultConfiguration == nil {
		return ""
	}
	return str(w.Configuration.ResultConfiguration.OutputLocation)
}

// workGroup finds a work group; primary is always there.
func (s *Service) workGroup(c *call.Call, name string) (*workGroup, error) {
	w, err := load[workGroup](s, key(c, "work-group", name))
	if errors.Is(err, kv.ErrNotFound) {
		if name == primary {
			return &workGroup{Name: primary, Configuration: &types.WorkGroupConfiguration{EnforceWorkGroupConfiguration: new(false), PublishCloudWatchMetricsEnabled: new(false), RequesterPaysEnabled: new(false),
				ResultConfiguration: &types.ResultConfiguration{}, EngineVersion: autoEngine()}}, nil
		}
		return nil, invalid(invalidInput, "WorkGroup is not found.")
	}
	return w, err
}

func autoEngine() *types.EngineVersion {
	return &types.EngineVersion{SelectedEngineVersion: new("AUTO"), EffectiveEngineVersion: new(engineVersion)}
}

func (s *Service) getWorkGroup(_ context.Context, c *call.Call, in *sdk.GetWorkGroupInput) (*sdk.GetWorkGroupOutput, error) {
	w, err := s.workGroup(c, str(in.WorkGroup))
	if err != nil {
		return nil, err
	}
	out := &types.WorkGroup{Name: &w.Name, Description: optional(w.Description), State: w.state(), Configuration: w.Configuration}
	if !w.Created.IsZero() {
		out.CreationTime = &w.Created
	}
	return &sdk.GetWorkGroupOutput{WorkGroup: out}, nil
}

func (s *Service) listWorkGroups(_ context.Context, c *call.Call, in *sdk.ListWorkGroupsInput) (*sdk.ListWorkGroupsOutput, error) {
	p, err := s.workGroup(c, primary)
	if err != nil {
		return nil, err
	}
	all := []*workGroup{p}
	err = s.cfg.Store.Scan(key(c, "work-group"), func(_, v []byte) (bool, error) {
		w := new(workGroup)
		err := json.Unmarshal(v, w)
		if w.Name != primary {
			all = append(all, w)
		}
		return true, err
	})
	if err != nil {
		return nil, err
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Name < all[j].Name })
	part, next, err := pageOf(all, in.NextToken, pageSize(in.MaxResults, maxBatch), func(w *workGroup) string { return w.Name })
	out := &sdk.ListWorkGroupsOutput{WorkGroups: []types.WorkGroupSummary{}, NextToken: next}
	for _, w := range part {
		sum := types.WorkGroupSummary{Name: &w.Name, Description: optional(w.Description), State: w.state(), EngineVersion: w.Configuration.EngineVersion}
		if !w.Created.IsZero() {
			sum.CreationTime = &w.Created
		}
		out.WorkGroups = append(out.WorkGroups, sum)
	}
	return out, err
}

func isTrue(b *bool) bool { return b != nil && *b }

func notOffered(what string) error {
	return invalid(invalidInput, "%s is not offered by this server.", what)
}

// checkResult refuses where and how results are written what is not done.
func checkResult(r *types.ResultConfiguration) error {
	if r == nil {
		return nil
	}
	if e := r.EncryptionConfiguration; e != nil && e.EncryptionOption != types.EncryptionOptionSseS3 {
		return notOffered("Encryption of query results with " + string(e.EncryptionOption))
	}
	return nil
}

// checkConfiguration refuses what a work group cannot be told here, so that no
// setting is kept that nothing honours. PublishCloudWatchMetricsEnabled is kept
// although there is no CloudWatch: most configurations set it, and it changes
// no query.
func checkConfiguration(w *types.WorkGroupConfiguration) error {
	switch {
	case w.ExecutionRole != nil, w.AdditionalConfiguration != nil, w.EngineConfiguration != nil:
		return notOffered("Apache Spark")
	case w.IdentityCenterConfiguration != nil && isTrue(w.IdentityCenterConfiguration.EnableIdentityCenter):
		return notOffered("IAM Identity Center")
	case w.ManagedQueryResultsConfiguration != nil && w.ManagedQueryResultsConfiguration.Enabled:
		return notOffered("Managed query results")
	case w.CustomerContentEncryptionConfiguration != nil, isTrue(w.EnableMinimumEncryptionConfiguration):
		return notOffered("Encryption with a key of the customer's")
	case w.QueryResultsS3AccessGrantsConfiguration != nil && isTrue(w.QueryResultsS3AccessGrantsConfiguration.EnableS3AccessGrants):
		return notOffered("S3 Access Grants")
	case w.MonitoringConfiguration != nil:
		return notOffered("Monitoring")
	case isTrue(w.RequesterPaysEnabled):
		return notOffered("Requester Pays")
	case w.BytesScannedCutoffPerQuery != nil && *w.BytesScannedCutoffPerQuery < minCutoff:
		return invalid(invalidInput, "BytesScannedCutoffPerQuery must be at least %d", minCutoff)
	}
	if v := w.EngineVersion; v != nil {
		switch str(v.SelectedEngineVersion) {
		case "", "AUTO", engineVersion:
		default:
			return invalid(invalidInput, "Engine version %s is not supported", str(v.SelectedEngineVersion))
		}
	}
	if r := w.ResultConfiguration; r != nil && r.OutputLocation != nil {
		if _, _, ok := splitLocation(*r.OutputLocation); !ok {
			return invalid(invalidInput, "outputLocation is not a valid S3 path.")
		}
	}
	return checkResult(w.ResultConfiguration)
}

// complete fills in what AWS answers for members that were not given.
func complete(w *types.WorkGroupConfiguration) {
	for _, b := range []struct {
		p   **bool
		def bool
	}{{&w.EnforceWorkGroupConfiguration, true}, {&w.PublishCloudWatchMetricsEnabled, false}, {&w.RequesterPaysEnabled, false}, {&w.EnableMinimumEncryptionConfiguration, false}} {
		if *b.p == nil {
			*b.p = new(b.def)
		}
	}
	if w.ResultConfiguration == nil {
		w.ResultConfiguration = &types.ResultConfiguration{}
	}
	engine := autoEngine()
	if w.EngineVersion != nil && str(w.EngineVersion.SelectedEngineVersion) != "" {
		engine.SelectedEngineVersion = w.EngineVersion.SelectedEngineVersion
	}
	w.EngineVersion = engine
}

func (s *Service) createWorkGroup(_ context.Context, c *call.Call, in *sdk.CreateWorkGroupInput) (*sdk.CreateWorkGroupOutput, error) {
	c.Tx.Lock(&s.writing)
	if _, err := s.workGroup(c, str(in.Name)); err == nil {
		return nil, invalid(invalidInput, "WorkGroup already exists")
	}
	if in.Tags != nil && len(in.Tags) == 0 {
		return nil, invalid(invalidInput, "Tags provided upon WorkGroup creation must not be empty")
	}
	tags, err := mergeTags(nil, in.Tags)
	if err != nil {
		return nil, err
	}
	w := &workGroup{Name: str(in.Name), Description: str(in.Description), State: types.WorkGroupStateEnabled, Configuration: in.Configuration, Tags: tags, Created: s.cfg.Now()}
	if w.Configuration == nil {
		w.Configuration = &types.WorkGroupConfiguration{}
	}
	if err := checkConfiguration(w.Configuration); err != nil {
		return nil, err
	}
	complete(w.Configuration)
	c.Tx.Set(key(c, "work-group", w.Name), encode(w))
	return &sdk.CreateWorkGroupOutput{}, nil
}

func (s *Service) updateWorkGroup(_ context.Context, c *call.Call, in *sdk.UpdateWorkGroupInput) (*sdk.UpdateWorkGroupOutput, error) {
	c.Tx.Lock(&s.writing)
	w, err := s.workGroup(c, str(in.WorkGroup))
	if err != nil {
		return nil, err
	}
	if in.Description != nil {
		w.Description = *in.Description
	}
	if in.State != "" {
		if w.Name == primary && in.State == types.WorkGroupStateDisabled {
			return nil, invalid(invalidInput, "WorkGroup primary cannot be disabled.")
		}
		w.State = in.State
	}
	if u := in.ConfigurationUpdates; u != nil {
		if w.Configuration == nil {
			w.Configuration = &types.WorkGroupConfiguration{}
		}
		change(w.Configuration, u)
		if err := checkConfiguration(w.Configuration); err != nil {
			return nil, err
		}
		complete(w.Configuration)
	}
	c.Tx.Set(key(c, "work-group", w.Name), encode(w))
	return &sdk.UpdateWorkGroupOutput{}, nil
}

// change sets the members that an update gives, and takes away those that it
// names so (Athena API reference, WorkGroupConfigurationUpdates).
func change(w *types.WorkGroupConfiguration, u *types.WorkGroupConfigurationUpdates) {
	set(&w.EnforceWorkGroupConfiguration, u.EnforceWorkGroupConfiguration)
	set(&w.PublishCloudWatchMetricsEnabled, u.PublishCloudWatchMetricsEnabled)
	set(&w.RequesterPaysEnabled, u.RequesterPaysEnabled)
	set(&w.EnableMinimumEncryptionConfiguration, u.EnableMinimumEncryptionConfiguration)
	set(&w.BytesScannedCutoffPerQuery, u.BytesScannedCutoffPerQuery)
	set(&w.EngineVersion, u.EngineVersion)
	set(&w.ExecutionRole, u.ExecutionRole)
	set(&w.AdditionalConfiguration, u.AdditionalConfiguration)
	set(&w.EngineConfiguration, u.EngineConfiguration)
	set(&w.CustomerContentEncryptionConfiguration, u.CustomerContentEncryptionConfiguration)
	set(&w.QueryResultsS3AccessGrantsConfiguration, u.QueryResultsS3AccessGrantsConfiguration)
	set(&w.MonitoringConfiguration, u.MonitoringConfiguration)
	if m := u.ManagedQueryResultsConfigurationUpdates; m != nil && isTrue(m.Enabled) {
		w.ManagedQueryResultsConfiguration = &types.ManagedQueryResultsConfiguration{Enabled: true}
	}
	if isTrue(u.RemoveBytesScannedCutoffPerQuery) {
		w.BytesScannedCutoffPerQuery = nil
	}
	r := u.ResultConfigurationUpdates
	if r == nil {
		return
	}
	if w.ResultConfiguration == nil {
		w.ResultConfiguration = &types.ResultConfiguration{}
	}
	have := w.ResultConfiguration
	set(&have.AclConfiguration, r.AclConfiguration)
	set(&have.EncryptionConfiguration, r.EncryptionConfiguration)
	set(&have.ExpectedBucketOwner, r.ExpectedBucketOwner)
	set(&have.OutputLocation, r.OutputLocation)
	if isTrue(r.RemoveAclConfiguration) {
		have.AclConfiguration = nil
	}
	if isTrue(r.RemoveEncryptionConfiguration) {
		have.EncryptionConfiguration = nil
	}
	if isTrue(r.RemoveExpectedBucketOwner) {
		have.ExpectedBucketOwner = nil
	}
	if isTrue(r.RemoveOutputLocation) {
		have.OutputLocation = nil
	}
}

func set[T any](dst **T, v *T) {
	if v != nil {
		*dst = v
	}
}

// deleteWorkGroup deletes a work group, with what is in it only when asked to.
func (s *Service) deleteWorkGroup(_ context.Context, c *call.Call, in *sdk.DeleteWorkGroupInput) (*sdk.DeleteWorkGroupOutput, error) {
	name := str(in.WorkGroup)
	if name == primary {
		return nil, invalid(invalidInput, "WorkGroup primary cannot be deleted.")
	}
	c.Tx.Lock(&s.writing)
	if _, err := s.workGroup(c, name); err != nil {
		return nil, err
	}
	var contents [][]byte
	err := s.cfg.Store.Scan(key(c, "named"), func(k, v []byte) (bool, error) {
		var q namedQuery
		err := json.Unmarshal(v, &q)
		if q.WorkGroup == name {
			contents = append(contents, append([]byte(nil), k...))
		}
		return true, err
	})
	if err != nil {
		return nil, err
	}
	order := kv.Key(kv.SpaceState, "athena", "order", c.AccountID, c.Region, name)
	var executions [][]byte
	err = s.cfg.Store.Scan(order, func(k, _ []byte) (bool, error) {
		executions = append(executions, append([]byte(nil), k...))
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	if len(contents)+len(executions) > 0 && !isTrue(in.RecursiveDeleteOption) {
		return nil, invalid(invalidInput, "WorkGroup %s is not empty", name)
	}
	// The executions stay readable by their ids, as on AWS; only the group's
	// own list of them goes.
	for _, k := range append(contents, executions...) {
		c.Tx.Delete(k)
	}
	c.Tx.Delete(key(c, "work-group", name))
	return &sdk.DeleteWorkGroupOutput{}, nil
}

func (s *Service) listEngineVersions(context.Context, *call.Call, *sdk.ListEngineVersionsInput) (*sdk.ListEngineVersionsOutput, error) {
	return &sdk.ListEngineVersionsOutput{EngineVersions: []types.EngineVersion{*autoEngine(), {SelectedEngineVersion: new(engineVersion), EffectiveEngineVersion: new(engineVersion)}}}, nil
}
