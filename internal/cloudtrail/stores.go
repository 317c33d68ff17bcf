package cloudtrail

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/lake"
	"spoor/internal/record"
	"spoor/internal/trail"
)

// Limits of event data stores (CloudTrail user guide, "Quotas in AWS
// CloudTrail" and "CloudTrail Lake pricing options").
const (
	maxStores           = 10
	defaultExtendable   = 366 // days
	defaultFixed        = 2557
	maxFixed            = 2557
	maxListed           = 1000
	extendable          = string(types.BillingModeExtendableRetentionPricing)
	fixed               = string(types.BillingModeFixedRetentionPricing)
	activityCategory    = "ActivityAuditLog"
	insightCategory     = "Insight"
	defaultSelectorName = "Default management events"
)

func (s *api) storeOperations() []call.Operation {
	return []call.Operation{
		call.Op("CreateEventDataStore", createStorePermission, handle(s.createStore), call.Describe(
			func(c *call.Call, _ *sdk.CreateEventDataStoreInput, out *sdk.CreateEventDataStoreOutput, _ error, r *record.Record) {
				if out != nil {
					r.Resources = append(r.Resources, record.Resource{Type: storeType, ARN: *out.EventDataStoreArn, AccountID: c.AccountID})
				}
			}), call.Partial("keys of KMS and organizations do not exist here; configuration items and Audit Manager evidence never arrive")),
		call.Op("GetEventDataStore", onStore("GetEventDataStore", s, func(in *sdk.GetEventDataStoreInput) *string { return in.EventDataStore }), handle(s.getStore), call.ReadOnly),
		call.Op("UpdateEventDataStore", onStore("UpdateEventDataStore", s, func(in *sdk.UpdateEventDataStoreInput) *string { return in.EventDataStore }), handle(s.updateStore),
			storeResource(func(in *sdk.UpdateEventDataStoreInput) *string { return in.EventDataStore }),
			call.Partial("keys of KMS and organizations do not exist here")),
		call.Op("DeleteEventDataStore", onStore("DeleteEventDataStore", s, func(in *sdk.DeleteEventDataStoreInput) *string { return in.EventDataStore }), handle(s.deleteStore),
			storeResource(func(in *sdk.DeleteEventDataStoreInput) *string { return in.EventDataStore })),
		call.Op("RestoreEventDataStore", onStore("RestoreEventDataStore", s, func(in *sdk.RestoreEventDataStoreInput) *string { return in.EventDataStore }), handle(s.restoreStore),
			storeResource(func(in *sdk.RestoreEventDataStoreInput) *string { return in.EventDataStore })),
		call.Op("ListEventDataStores", onAll[sdk.ListEventDataStoresInput]("ListEventDataStores"), handle(s.listStores), call.ReadOnly),
		call.Op("StartEventDataStoreIngestion", onStore("StartEventDataStoreIngestion", s, func(in *sdk.StartEventDataStoreIngestionInput) *string { return in.EventDataStore }),
			handle(func(c *call.Call, in *sdk.StartEventDataStoreIngestionInput) (*sdk.StartEventDataStoreIngestionOutput, error) {
				return &sdk.StartEventDataStoreIngestionOutput{}, s.ingest(c, in.EventDataStore, true)
			}), storeResource(func(in *sdk.StartEventDataStoreIngestionInput) *string { return in.EventDataStore })),
		call.Op("StopEventDataStoreIngestion", onStore("StopEventDataStoreIngestion", s, func(in *sdk.StopEventDataStoreIngestionInput) *string { return in.EventDataStore }),
			handle(func(c *call.Call, in *sdk.StopEventDataStoreIngestionInput) (*sdk.StopEventDataStoreIngestionOutput, error) {
				return &sdk.StopEventDataStoreIngestionOutput{}, s.ingest(c, in.EventDataStore, false)
			}), storeResource(func(in *sdk.StopEventDataStoreIngestionInput) *string { return in.EventDataStore })),
		call.Op("EnableFederation", s.federationPermissions, handle(s.enableFederation),
			storeResource(func(in *sdk.EnableFederationInput) *string { return in.EventDataStore })),
		call.Op("DisableFederation", func(c *call.Call, in *sdk.DisableFederationInput) ([]call.Permission, error) {
			id := str(in.EventDataStore)
			return []call.Permission{s.storePermission(c, "DisableFederation", id), federatedTable(c, "DeleteTable", id)}, nil
		}, handle(s.disableFederation),
			storeResource(func(in *sdk.DisableFederationInput) *string { return in.EventDataStore })),
	}
}

const storeType = "AWS::CloudTrail::EventDataStore"

var uuid = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

// storeARN is a store's ARN from the ARN or the id in an input.
func storeARN(c *call.Call, id string) string {
	if strings.HasPrefix(id, "arn:") {
		return id
	}
	return lake.ARN(c.AccountID, c.Region, id)
}

// onStore makes an operation's permission: cloudtrail:name on the store that
// the input names, under the store's own policy.
func onStore[I any](op string, s *api, name func(in *I) *string) func(c *call.Call, in *I) ([]call.Permission, error) {
	return func(c *call.Call, in *I) ([]call.Permission, error) {
		return []call.Permission{s.storePermission(c, op, str(name(in)))}, nil
	}
}

func (s *api) storePermission(c *call.Call, op, id string) call.Permission {
	return s.lake.Permission("cloudtrail:"+op, storeARN(c, id))
}

// foreignStore adds the permission on a store of another account that a call
// of an operation on something else makes events go to. Within the account AWS
// asks for none.
func (s *api) foreignStore(perms []call.Permission, c *call.Call, op, arn string) []call.Permission {
	if a, err := aws.ParseARN(arn); err != nil || a.Account == c.AccountID {
		return perms
	}
	return append(perms, s.storePermission(c, op, arn))
}

func storeResource[I any](name func(in *I) *string) func(*call.Operation) {
	return func(o *call.Operation) {
		o.Describe = func(c *call.Call, in, _ any, _ error, r *record.Record) {
			if id := str(name(in.(*I))); strings.HasPrefix(id, "arn:") || uuid.MatchString(id) {
				arn := storeARN(c, id)
				r.Resources = append(r.Resources, record.Resource{Type: storeType, ARN: arn, AccountID: ownerOf(c, arn)})
			}
		}
	}
}

func createStorePermission(c *call.Call, in *sdk.CreateEventDataStoreInput) ([]call.Permission, error) {
	p := call.Permission{Action: "cloudtrail:CreateEventDataStore", Resource: lake.ARN(c.AccountID, c.Region, "*"), Context: tagKeys(in.TagsList)}
	if len(in.TagsList) == 0 {
		return []call.Permission{p}, nil
	}
	tag := p
	tag.Action = "cloudtrail:AddTags"
	return []call.Permission{p, tag}, nil
}

// findStore finds a store by id, in the call's account and region, or by ARN.
// A store of another account is found where its policy let the call in.
func (s *api) findStore(c *call.Call, id string) (*lake.Store, error) {
	arn := storeARN(c, id)
	a, err := parseARN(arn)
	kind, name, _ := strings.Cut(a.Resource, "/")
	if err != nil || kind != "eventdatastore" || !uuid.MatchString(name) {
		return nil, invalid("EventDataStoreARNInvalidException", "The event data store ARN or ID %s is not valid.", id)
	}
	st := s.lake.Lookup(arn)
	if st == nil || st.Region != c.Region {
		return nil, &aws.Error{Op: "cloudtrail", Kind: aws.NotFound, Code: "EventDataStoreNotFoundException",
			Message: "The specified event data store " + arn + " was not found."}
	}
	return st, nil
}

// activeStore is findStore for what a store that is about to be deleted refuses.
func (s *api) activeStore(c *call.Call, id string) (*lake.Store, error) {
	st, err := s.findStore(c, id)
	if err == nil && !st.Deleted.IsZero() {
		err = inactive(st)
	}
	return st, err
}

func inactive(st *lake.Store) error {
	return invalid("InactiveEventDataStoreException", "The event data store %s is inactive: its status is PENDING_DELETION.", st.ARN())
}

func storeStatus(st *lake.Store) types.EventDataStoreStatus {
	switch {
	case !st.Deleted.IsZero():
		return types.EventDataStoreStatusPendingDeletion
	case st.Settings.Ingesting:
		return types.EventDataStoreStatusEnabled
	}
	return types.EventDataStoreStatusStoppedIngestion
}

// class is what kind of events a store holds. A store keeps its class.
func class(st *lake.Store) string { return classOf(st.Settings.Selectors.Advanced) }

func classOf(list []trail.AdvancedSelector) string {
	for _, a := range list {
		for _, f := range a.Fields {
			if f.Field != trail.FieldCategory || len(f.Equals) == 0 {
				continue
			}
			switch f.Equals[0] {
			case "Management", "Data", "NetworkActivity":
				return "CloudTrail events"
			default:
				return f.Equals[0]
			}
		}
	}
	return "CloudTrail events"
}

// checkBacking: what lies outside of the stores themselves does not exist here.
func checkBacking(key *string, organization *bool) error {
	return checkForeign(key, organization)
}

func checkRetention(billing string, days int) error {
	if billing == fixed && days > maxFixed {
		return invalid("InvalidParameterException", "The retention period of an event data store with FIXED_RETENTION_PRICING is at most %d days; %d are given.", maxFixed, days)
	}
	return nil
}

func (s *api) createStore(c *call.Call, in *sdk.CreateEventDataStoreInput) (*sdk.CreateEventDataStoreOutput, error) {
	now := s.lake.Now()
	st := &lake.Store{Account: c.AccountID, Region: c.Region, ID: call.NewID(), Name: str(in.Name), Billing: string(in.BillingMode),
		Protected: in.TerminationProtectionEnabled == nil || *in.TerminationProtectionEnabled, Created: now, Updated: now,
		Settings: lake.Settings{Ingesting: in.StartIngestion == nil || *in.StartIngestion, MultiRegion: in.MultiRegionEnabled == nil || *in.MultiRegionEnabled}}
	if st.Billing == "" {
		st.Billing = extendable
	}
	switch {
	case in.RetentionPeriod != nil:
		st.RetentionDays = int(*in.RetentionPeriod)
	case st.Billing == fixed:
		st.RetentionDays = defaultFixed
	default:
		st.RetentionDays = defaultExtendable
	}
	if err := checkRetention(st.Billing, st.RetentionDays); err != nil {
		return nil, err
	}
	if err := checkBacking(in.KmsKeyId, in.OrganizationEnabled); err != nil {
		return nil, err
	}
	var err error
	if st.Settings.Selectors.Advanced, err = storeSelectors(in.AdvancedEventSelectors); err != nil {
		return nil, err
	}
	if in.StartIngestion != nil && !stoppable(st) {
		return nil, invalid("InvalidParameterException", "StartIngestion can be given for event data stores of CloudTrail events and configuration items only.")
	}
	if st.Tags, err = mergeTags(nil, in.TagsList); err != nil {
		return nil, err
	}
	s.lake.Lock(c)
	if err := s.nameIsFree(st); err != nil {
		return nil, err
	}
	if err := s.checkStoreQuota(c, st); err != nil {
		return nil, err
	}
	if err := s.lake.Put(c, st); err != nil {
		return nil, err
	}
	d := s.show(st)
	return &sdk.CreateEventDataStoreOutput{EventDataStoreArn: d.EventDataStoreArn, Name: d.Name, Status: types.EventDataStoreStatusCreated,
		AdvancedEventSelectors: d.AdvancedEventSelectors, MultiRegionEnabled: d.MultiRegionEnabled, OrganizationEnabled: d.OrganizationEnabled,
		RetentionPeriod: d.RetentionPeriod, TerminationProtectionEnabled: d.TerminationProtectionEnabled, TagsList: sdkTags(st.Tags),
		CreatedTimestamp: d.CreatedTimestamp, UpdatedTimestamp: d.UpdatedTimestamp, BillingMode: d.BillingMode}, nil
}

func sdkTags(tags []trail.Tag) []types.Tag {
	out := make([]types.Tag, 0, len(tags))
	for _, t := range tags {
		out = append(out, types.Tag{Key: new(t.Key), Value: new(t.Value)})
	}
	return out
}

func (s *api) nameIsFree(st *lake.Store) error {
	for _, other := range s.lake.Stores(st.Account, st.Region) {
		if other.Name == st.Name && other.ID != st.ID {
			return &aws.Error{Op: "cloudtrail", Kind: aws.Conflict, Code: "EventDataStoreAlreadyExistsException",
				Message: "An event data store with the name " + st.Name + " already exists."}
		}
	}
	return nil
}

func (s *api) checkStoreQuota(c *call.Call, st *lake.Store) error {
	n := 0
	for _, other := range s.lake.Stores(c.AccountID, c.Region) {
		if other.ID != st.ID && other.Deleted.IsZero() {
			n++
		}
	}
	if n >= maxStores {
		return &aws.Error{Op: "cloudtrail", Kind: aws.LimitExceeded, Code: "EventDataStoreMaxLimitExceededException",
			Message: fmt.Sprintf("Your account has used the maximum number of event data stores: %d.", maxStores)}
	}
	return nil
}

// show is a store with everything that answers show of it.
func (s *api) show(st *lake.Store) *sdk.GetEventDataStoreOutput {
	_, advanced := sdkSelectors(st.Settings.Selectors)
	status, role := federationStatus(st)
	return &sdk.GetEventDataStoreOutput{EventDataStoreArn: new(st.ARN()), Name: &st.Name, Status: storeStatus(st), AdvancedEventSelectors: advanced,
		MultiRegionEnabled: &st.Settings.MultiRegion, OrganizationEnabled: new(false), RetentionPeriod: new(int32(st.RetentionDays)),
		TerminationProtectionEnabled: &st.Protected, CreatedTimestamp: &st.Created, UpdatedTimestamp: &st.Updated,
		BillingMode: types.BillingMode(st.Billing), FederationStatus: status, FederationRoleArn: role}
}

func (s *api) getStore(c *call.Call, in *sdk.GetEventDataStoreInput) (*sdk.GetEventDataStoreOutput, error) {
	st, err := s.findStore(c, str(in.EventDataStore))
	if err != nil {
		return nil, err
	}
	return s.show(st), nil
}

// change hands a store to fn under the lock and writes what fn made of it.
func (s *api) changeStore(c *call.Call, id string, find func(*call.Call, string) (*lake.Store, error), fn func(st *lake.Store) error) (*lake.Store, error) {
	s.lake.Lock(c)
	old, err := find(c, id)
	if err != nil {
		return nil, err
	}
	st := *old
	st.Updated = s.lake.Now()
	if err := fn(&st); err != nil {
		return nil, err
	}
	return &st, s.lake.Put(c, &st)
}

func (s *api) updateStore(c *call.Call, in *sdk.UpdateEventDataStoreInput) (*sdk.UpdateEventDataStoreOutput, error) {
	st, err := s.changeStore(c, str(in.EventDataStore), s.activeStore, func(st *lake.Store) error { return s.applyUpdate(in, st) })
	if err != nil {
		return nil, err
	}
	d := s.show(st)
	return &sdk.UpdateEventDataStoreOutput{EventDataStoreArn: d.EventDataStoreArn, Name: d.Name, Status: d.Status, AdvancedEventSelectors: d.AdvancedEventSelectors,
		MultiRegionEnabled: d.MultiRegionEnabled, OrganizationEnabled: d.OrganizationEnabled, RetentionPeriod: d.RetentionPeriod,
		TerminationProtectionEnabled: d.TerminationProtectionEnabled, CreatedTimestamp: d.CreatedTimestamp, UpdatedTimestamp: d.UpdatedTimestamp,
		BillingMode: d.BillingMode, FederationStatus: d.FederationStatus, FederationRoleArn: d.FederationRoleArn}, nil
}

func (s *api) applyUpdate(in *sdk.UpdateEventDataStoreInput, st *lake.Store) (err error) {
	if err := s.notImporting(st); err != nil {
		return err
	}
	if err := checkBacking(in.KmsKeyId, in.OrganizationEnabled); err != nil {
		return err
	}
	if in.Name != nil {
		st.Name = *in.Name
		if err := s.nameIsFree(st); err != nil {
			return err
		}
	}
	if in.MultiRegionEnabled != nil {
		st.Settings.MultiRegion = *in.MultiRegionEnabled
	}
	if in.TerminationProtectionEnabled != nil {
		st.Protected = *in.TerminationProtectionEnabled
	}
	if in.BillingMode != "" {
		if st.Billing == extendable && string(in.BillingMode) == fixed {
			return invalid("InvalidParameterException", "The billing mode of an event data store cannot be changed from EXTENDABLE_RETENTION_PRICING to FIXED_RETENTION_PRICING.")
		}
		st.Billing = string(in.BillingMode)
	}
	if in.RetentionPeriod != nil {
		st.RetentionDays = int(*in.RetentionPeriod)
	}
	if err := checkRetention(st.Billing, st.RetentionDays); err != nil {
		return err
	}
	if len(in.AdvancedEventSelectors) == 0 {
		return nil
	}
	before := class(st)
	if st.Settings.Selectors.Advanced, err = storeSelectors(in.AdvancedEventSelectors); err != nil {
		return err
	}
	if class(st) != before {
		return badSelector("The event type of an event data store cannot be changed; this one holds %s.", before)
	}
	if err := checkInsights(st.Insights, st.Settings.Selectors); err != nil {
		return err
	}
	return nil
}

func (s *api) deleteStore(c *call.Call, in *sdk.DeleteEventDataStoreInput) (*sdk.DeleteEventDataStoreOutput, error) {
	_, err := s.changeStore(c, str(in.EventDataStore), s.activeStore, func(st *lake.Store) error {
		if st.Protected {
			return invalid("EventDataStoreTerminationProtectedException", "The event data store %s cannot be deleted because termination protection is enabled for it.", st.ARN())
		}
		if st.FederationRole != "" {
			return federated(st)
		}
		if err := s.notInUse(st); err != nil {
			return err
		}
		st.Deleted = st.Updated
		return nil
	})
	return &sdk.DeleteEventDataStoreOutput{}, err
}

func (s *api) restoreStore(c *call.Call, in *sdk.RestoreEventDataStoreInput) (*sdk.RestoreEventDataStoreOutput, error) {
	st, err := s.changeStore(c, str(in.EventDataStore), s.findStore, func(st *lake.Store) error {
		if st.Deleted.IsZero() {
			return invalid("InvalidEventDataStoreStatusException", "The event data store %s is not in a status that supports the operation: only one with the status PENDING_DELETION can be restored.", st.ARN())
		}
		st.Deleted = time.Time{}
		return s.checkStoreQuota(c, st)
	})
	if err != nil {
		return nil, err
	}
	d := s.show(st)
	return &sdk.RestoreEventDataStoreOutput{EventDataStoreArn: d.EventDataStoreArn, Name: d.Name, Status: d.Status, AdvancedEventSelectors: d.AdvancedEventSelectors,
		MultiRegionEnabled: d.MultiRegionEnabled, OrganizationEnabled: d.OrganizationEnabled, RetentionPeriod: d.RetentionPeriod,
		TerminationProtectionEnabled: d.TerminationProtectionEnabled, CreatedTimestamp: d.CreatedTimestamp, UpdatedTimestamp: d.UpdatedTimestamp,
		BillingMode: d.BillingMode}, nil
}

// listStores shows of each store its ARN and name, as AWS does: the other
// members are deprecated there.
func (s *api) listStores(c *call.Call, in *sdk.ListEventDataStoresInput) (*sdk.ListEventDataStoresOutput, error) {
	list := s.lake.Stores(c.AccountID, c.Region)
	key := func(st **lake.Store) string { return (*st).Created.UTC().Format(sortable) + (*st).ID }
	list, next, err := page(list, key, "ListEventDataStores", str(in.NextToken), in.MaxResults, maxListed)
	if err != nil {
		return nil, err
	}
	out := &sdk.ListEventDataStoresOutput{EventDataStores: []types.EventDataStore{}, NextToken: next}
	for _, st := range list {
		out.EventDataStores = append(out.EventDataStores, types.EventDataStore{EventDataStoreArn: new(st.ARN()), Name: &st.Name})
	}
	return out, nil
}

// sortable is a layout of times that order as text.
const sortable = "2006-01-02T15:04:05.000Z"

// notInUse reports what keeps a store from being deleted.
func (s *api) notInUse(st *lake.Store) error {
	used, err := s.channelsTo(st.Account, st.Region, st.ARN())
	if err != nil {
		return err
	}
	if len(used) > 0 {
		return invalid("ChannelExistsForEDSException", "The event data store %s cannot be deleted because it is in use by the channel %s.", st.ARN(), used[0].arn())
	}
	return s.notImporting(st)
}

// notImporting reports an import into a store that is under way.
func (s *api) notImporting(st *lake.Store) error {
	all, err := s.lake.Imports(st.Account, st.Region)
	if err != nil {
		return err
	}
	for _, i := range all {
		if i.Going() && i.StoreID == st.ID {
			return invalid("EventDataStoreHasOngoingImportException", "The event data store %s has the import %s in progress.", st.ARN(), i.ID)
		}
	}
	return nil
}

// stoppable reports whether a store's ingestion can be stopped and started.
func stoppable(st *lake.Store) bool {
	k := class(st)
	return k == "CloudTrail events" || k == "ConfigurationItem"
}

func (s *api) ingest(c *call.Call, id *string, on bool) error {
	_, err := s.changeStore(c, str(id), s.findStore, func(st *lake.Store) error {
		if !stoppable(st) {
			return invalid("InvalidEventDataStoreCategoryException", "The event category of the event data store %s does not support the operation.", st.ARN())
		}
		if !st.Deleted.IsZero() || st.Settings.Ingesting == on {
			return invalid("InvalidEventDataStoreStatusException", "The event data store %s is not in a status that supports the operation: its status is %s.", st.ARN(), storeStatus(st))
		}
		st.Settings.Ingesting = on
		return nil
	})
	return err
}
