package cloudtrail

import (
	"slices"
	"strings"

	sdk "github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/lake"
	"spoor/internal/trail"
)

// The event configuration of an event data store is how large its events may
// be and which context they carry; that of a trail is how its data events are
// aggregated (CloudTrail API reference, "PutEventConfiguration"; user guide,
// "Enrich CloudTrail events by adding resource tag keys and IAM global
// condition keys" and "Aggregating data events").

func (s *api) eventConfigurationOperations() []call.Operation {
	return []call.Operation{
		call.Op("PutEventConfiguration", s.eventConfigurationPermissions, handle(s.putEventConfiguration)),
		call.Op("GetEventConfiguration", func(c *call.Call, in *sdk.GetEventConfigurationInput) ([]call.Permission, error) {
			return s.onTrailOrStore(c, "GetEventConfiguration", in.TrailName, in.EventDataStore), nil
		}, handle(s.getEventConfiguration), call.ReadOnly),
	}
}

// contextRole is the service-linked role that AWS makes for who asks for tags,
// with that caller's rights. Nothing here needs such a role, but who may not
// make one may not ask for tags.
const contextRole = "role/aws-service-role/context.cloudtrail.amazonaws.com/AWSServiceRoleForCloudTrailEventContext"

func (s *api) eventConfigurationPermissions(c *call.Call, in *sdk.PutEventConfigurationInput) ([]call.Permission, error) {
	out := s.onTrailOrStore(c, "PutEventConfiguration", in.TrailName, in.EventDataStore)
	if slices.ContainsFunc(in.ContextKeySelectors, func(k types.ContextKeySelector) bool { return k.Type == types.TypeTagContext }) {
		out = append(out, call.Permission{Action: "iam:CreateServiceLinkedRole", Resource: aws.NewARN("iam", "", c.AccountID, contextRole).String(),
			Context: map[string][]string{"iam:awsservicename": {"context.cloudtrail.amazonaws.com"}}})
	}
	return out, nil
}

// contextKeys are the global condition keys that events can carry. Those that
// the record itself has as members of its own (aws:SourceIp, aws:UserAgent,
// aws:Referer) are not among them, nor are those of tags.
var contextKeys = strings.Fields(`aws:FederatedProvider aws:TokenIssueTime aws:MultiFactorAuthAge aws:MultiFactorAuthPresent aws:SourceIdentity
	aws:PrincipalAccount aws:PrincipalArn aws:PrincipalIsAWSService aws:PrincipalOrgID aws:PrincipalOrgPaths aws:PrincipalServiceName
	aws:PrincipalServiceNamesList aws:PrincipalType aws:userid aws:username aws:AssumedRoot aws:Ec2InstanceSourceVpc
	aws:Ec2InstanceSourcePrivateIPv4 aws:ChatbotSourceArn aws:SourceVpc aws:SourceVpce aws:SourceVpcArn aws:VpceAccount aws:VpceOrgID
	aws:VpceOrgPaths aws:VpcSourceIp aws:ResourceAccount aws:ResourceOrgID aws:ResourceOrgPaths aws:CalledVia aws:CalledViaFirst
	aws:CalledViaLast aws:ViaAWSService aws:CurrentTime aws:EpochTime aws:RequestedRegion aws:SecureTransport aws:SourceAccount
	aws:SourceArn aws:SourceOrgID aws:SourceOrgPaths`)

func (s *api) putEventConfiguration(c *call.Call, in *sdk.PutEventConfigurationInput) (*sdk.PutEventConfigurationOutput, error) {
	s.lockFor(c, in.EventDataStore)
	t, st, err := s.trailOrStore(c, in.TrailName, in.EventDataStore, s.findHome)
	if err != nil {
		return nil, err
	}
	if t != nil {
		if in.MaxEventSize != "" || len(in.ContextKeySelectors) > 0 {
			return nil, invalid("InvalidParameterCombinationException", "MaxEventSize and ContextKeySelectors can be given with an event data store only.")
		}
		next := *t
		if next.Settings.Templates, err = templates(in.AggregationConfigurations, t); err != nil {
			return nil, err
		}
		out := sdk.PutEventConfigurationOutput(*trailConfiguration(&next))
		return &out, s.trails.Put(c, &next)
	}
	if len(in.AggregationConfigurations) > 0 {
		return nil, invalid("InvalidParameterCombinationException", "AggregationConfigurations can be given with a trail only.")
	}
	if err := takesContext(st); err != nil {
		return nil, err
	}
	next := *st
	if err := configure(&next, in); err != nil {
		return nil, err
	}
	next.Updated = s.lake.Now()
	out := sdk.PutEventConfigurationOutput(*storeConfiguration(&next))
	return &out, s.lake.Put(c, &next)
}

// configure puts what the input names into a store's settings; the rest stays.
func configure(st *lake.Store, in *sdk.PutEventConfigurationInput) error {
	if in.MaxEventSize == "" && in.ContextKeySelectors == nil {
		return invalid("InvalidParameterException", "Specify MaxEventSize or ContextKeySelectors.")
	}
	if in.MaxEventSize != "" {
		st.Settings.Large = in.MaxEventSize == types.MaxEventSizeLarge
	}
	if in.ContextKeySelectors != nil {
		st.Settings.RequestKeys, st.Settings.TagKeys = nil, nil
	}
	for _, k := range in.ContextKeySelectors {
		list := &st.Settings.TagKeys
		if k.Type == types.TypeRequestContext {
			list = &st.Settings.RequestKeys
		}
		if *list != nil {
			return invalid("InvalidParameterException", "ContextKeySelectors has more than one selector of type %s.", k.Type)
		}
		for _, key := range k.Equals {
			if k.Type == types.TypeRequestContext {
				i := slices.IndexFunc(contextKeys, func(known string) bool { return strings.EqualFold(known, key) })
				if i < 0 {
					return invalid("InvalidParameterException", "The context key %s is not supported. RequestContext takes the global condition keys %s.", key, strings.Join(contextKeys, ", "))
				}
				key = contextKeys[i]
			}
			if slices.Contains(*list, key) {
				return invalid("InvalidParameterException", "The context key %s is given more than once.", key)
			}
			*list = append(*list, key)
		}
	}
	if !st.Settings.Large && len(st.Settings.RequestKeys)+len(st.Settings.TagKeys) > 0 {
		return invalid("InvalidParameterCombinationException", "MaxEventSize must be Large for an event data store with ContextKeySelectors.")
	}
	return nil
}

// templates are the aggregation templates of a trail's configuration. Only a
// trail that logs data events can aggregate them.
func templates(list []types.AggregationConfiguration, t *trail.State) ([]string, error) {
	var out []string
	for _, a := range list {
		for _, x := range a.Templates {
			if slices.Contains(out, string(x)) {
				return nil, invalid("InvalidParameterException", "The aggregation template %s is given more than once.", x)
			}
			out = append(out, string(x))
		}
	}
	if len(out) > 0 && !t.Settings.Selectors.HasData() {
		return nil, invalid("InvalidParameterCombinationException", "The trail %s does not log data events. Configure data events, and then try the operation again.", t.Name)
	}
	return out, nil
}

// takesContext: only a store of CloudTrail's own events has an event
// configuration.
func takesContext(st *lake.Store) error {
	if class(st) != classOf(nil) {
		return invalid("InvalidEventDataStoreCategoryException", "The event category of the event data store %s does not support the operation.", st.ARN())
	}
	return nil
}

func (s *api) getEventConfiguration(c *call.Call, in *sdk.GetEventConfigurationInput) (*sdk.GetEventConfigurationOutput, error) {
	t, st, err := s.trailOrStore(c, in.TrailName, in.EventDataStore, s.findTrail)
	switch {
	case err != nil:
		return nil, err
	case t != nil:
		return trailConfiguration(t), nil
	}
	if err := takesContext(st); err != nil {
		return nil, err
	}
	return storeConfiguration(st), nil
}

func trailConfiguration(t *trail.State) *sdk.GetEventConfigurationOutput {
	out := &sdk.GetEventConfigurationOutput{TrailARN: new(t.ARN()), AggregationConfigurations: []types.AggregationConfiguration{}}
	if len(t.Settings.Templates) > 0 {
		a := types.AggregationConfiguration{EventCategory: types.EventCategoryAggregationData}
		for _, x := range t.Settings.Templates {
			a.Templates = append(a.Templates, types.Template(x))
		}
		out.AggregationConfigurations = append(out.AggregationConfigurations, a)
	}
	return out
}

func storeConfiguration(st *lake.Store) *sdk.GetEventConfigurationOutput {
	out := &sdk.GetEventConfigurationOutput{EventDataStoreArn: new(st.ARN()), MaxEventSize: types.MaxEventSizeStandard, ContextKeySelectors: []types.ContextKeySelector{}}
	if st.Settings.Large {
		out.MaxEventSize = types.MaxEventSizeLarge
	}
	if keys := st.Settings.TagKeys; len(keys) > 0 {
		out.ContextKeySelectors = append(out.ContextKeySelectors, types.ContextKeySelector{Type: types.TypeTagContext, Equals: keys})
	}
	if keys := st.Settings.RequestKeys; len(keys) > 0 {
		out.ContextKeySelectors = append(out.ContextKeySelectors, types.ContextKeySelector{Type: types.TypeRequestContext, Equals: keys})
	}
	return out
}
