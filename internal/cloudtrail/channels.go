package cloudtrail

import (
	"fmt"
	"slices"
	"strings"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/record"
	"spoor/internal/trail"
)

// maxChannels is how many channels an account has in a region (CloudTrail user
// guide, "Quotas in AWS CloudTrail").
const maxChannels = 25

const channelType = "AWS::CloudTrail::Channel"

// sources are the event sources that a channel can have: one's own, and the
// partners of CloudTrail Lake (CloudTrail user guide, "Create an integration
// with an event source outside of AWS").
var sources = []string{"Custom", "Cloud Storage Security", "Clumio", "CrowdStrike", "CyberArk", "GitHub", "Kong Inc", "LaunchDarkly", "MontyCloud",
	"Netskope", "Nordcloud, an IBM Company", "Okta", "One Identity", "Shoreline.io", "Snyk.io", "Wiz"}

// channel is a channel: where events of outside sources come in.
type channel struct {
	Account string      `json:"account"`
	Region  string      `json:"region"`
	ID      string      `json:"id"`
	Name    string      `json:"name"`
	Source  string      `json:"source"`
	Stores  []string    `json:"stores"` // ARNs of the destinations
	Tags    []trail.Tag `json:"tags,omitempty"`
	Policy  string      `json:"policy,omitempty"`
}

// ingestion is the state of a channel's last events. It is a row of its own,
// so that putting events and changing the channel do not wait for each other.
type ingestion struct {
	Attempt   time.Time `json:"attempt"`
	AttemptID string    `json:"attemptId,omitempty"`
	Success   time.Time `json:"success,omitzero"`
	SuccessID string    `json:"successId,omitempty"`
	ErrorCode string    `json:"errorCode,omitempty"`
}

var (
	channels   = table[channel]{"channel"}
	ingestions = table[ingestion]{"channel-ingestion"}
)

func (x *channel) arn() string { return channelARNOf(x.Account, x.Region, x.ID) }

func channelARNOf(account, region, id string) string {
	return aws.NewARN("cloudtrail", region, account, "channel/"+id).String()
}

func (s *api) channelOperations() []call.Operation {
	return []call.Operation{
		call.Op("CreateChannel", func(c *call.Call, in *sdk.CreateChannelInput) ([]call.Permission, error) {
			p := call.Permission{Action: "cloudtrail:CreateChannel", Resource: channelARNOf(c.AccountID, c.Region, "*"), Context: tagKeys(in.Tags)}
			out := []call.Permission{p}
			for _, d := range in.Destinations {
				if strings.HasPrefix(str(d.Location), "arn:") {
					out = append(out, s.storePermission(c, "CreateChannel", str(d.Location)))
				}
			}
			if len(in.Tags) > 0 {
				p.Action = "cloudtrail:AddTags"
				out = append(out, p)
			}
			return out, nil
		}, handle(s.createChannel), call.Describe(func(c *call.Call, _ *sdk.CreateChannelInput, out *sdk.CreateChannelOutput, _ error, r *record.Record) {
			if out != nil {
				r.Resources = append(r.Resources, record.Resource{Type: channelType, ARN: *out.ChannelArn, AccountID: c.AccountID})
			}
		})),
		call.Op("GetChannel", onChannel("GetChannel", s, func(in *sdk.GetChannelInput) *string { return in.Channel }), handle(s.getChannel), call.ReadOnly),
		call.Op("UpdateChannel", func(c *call.Call, in *sdk.UpdateChannelInput) ([]call.Permission, error) {
			p, err := s.channelPermission(c, "cloudtrail:UpdateChannel", str(in.Channel))
			out := []call.Permission{p}
			for _, d := range in.Destinations {
				out = s.foreignStore(out, c, "UpdateChannel", str(d.Location))
			}
			return out, err
		}, handle(s.updateChannel)),
		call.Op("DeleteChannel", onChannel("DeleteChannel", s, func(in *sdk.DeleteChannelInput) *string { return in.Channel }), handle(s.deleteChannel)),
		call.Op("ListChannels", onAll[sdk.ListChannelsInput]("ListChannels"), handle(s.listChannels), call.ReadOnly),
	}
}

func channelARN(c *call.Call, id string) string {
	if strings.HasPrefix(id, "arn:") {
		return id
	}
	return channelARNOf(c.AccountID, c.Region, id)
}

func onChannel[I any](op string, s *api, name func(in *I) *string) func(c *call.Call, in *I) ([]call.Permission, error) {
	return func(c *call.Call, in *I) ([]call.Permission, error) {
		p, err := s.channelPermission(c, "cloudtrail:"+op, str(name(in)))
		return []call.Permission{p}, err
	}
}

func (s *api) channelPermission(c *call.Call, action, id string) (call.Permission, error) {
	p := call.Permission{Action: action, Resource: channelARN(c, id)}
	a, account, _ := splitARN(p.Resource, "channel")
	p.ResourceAccount = account
	if a == "" {
		return p, nil
	}
	x, err := channels.get(s.store, account, c.Region, a)
	if x != nil {
		p.ResourcePolicy, p.Context = x.Policy, trail.ResourceTags(x.Tags)
	}
	return p, err
}

// parseARN takes an ARN of CloudTrail apart. One of another partition names
// nothing here: a resource that answered to several ARNs would slip past the
// policies and selectors that name one of them.
func parseARN(arn string) (aws.ARN, error) {
	a, err := aws.ParseARN(arn)
	if err == nil && (a.Service != "cloudtrail" || a.Partition != aws.Partition) {
		err = fmt.Errorf("%q is not the ARN of a resource of CloudTrail", arn)
	}
	return a, err
}

// splitARN takes a resource ARN of CloudTrail apart; id is "" when it is not
// one of the kind.
func splitARN(arn, kind string) (id, account, region string) {
	a, err := parseARN(arn)
	if err != nil {
		return "", "", ""
	}
	k, id, _ := strings.Cut(a.Resource, "/")
	if k != kind {
		return "", a.Account, a.Region
	}
	return id, a.Account, a.Region
}

// findChannel finds a channel by id, in the call's account, or by ARN.
func (s *api) findChannel(c *call.Call, nameOrARN string) (*channel, error) {
	arn := channelARN(c, nameOrARN)
	id, account, region := splitARN(arn, "channel")
	if !uuid.MatchString(id) {
		return nil, invalid("ChannelARNInvalidException", "The channel ARN or ID %s is not valid.", nameOrARN)
	}
	var x *channel
	var err error
	if region == c.Region {
		x, err = channels.get(s.store, account, region, id)
	}
	if err == nil && x == nil {
		err = &aws.Error{Op: "cloudtrail", Kind: aws.NotFound, Code: "ChannelNotFoundException", Message: "The channel " + arn + " was not found."}
	}
	return x, err
}

// destinations checks where a channel's events are to go.
func (s *api) destinations(c *call.Call, in []types.Destination) ([]string, error) {
	var out []string
	for _, d := range in {
		if d.Type != types.DestinationTypeEventDataStore {
			return nil, invalid("InvalidParameterException", "The destination type %s cannot be used; the only destination type that can is EVENT_DATA_STORE.", d.Type)
		}
		if !strings.HasPrefix(str(d.Location), "arn:") {
			return nil, invalid("EventDataStoreARNInvalidException", "The event data store ARN %s is not valid.", str(d.Location))
		}
		st, err := s.activeStore(c, str(d.Location))
		if err != nil {
			return nil, err
		}
		if class(st) != activityCategory {
			return nil, invalid("InvalidEventDataStoreCategoryException", "The event data store %s does not log events from outside of AWS: its event category must be ActivityAuditLog.", st.ARN())
		}
		if !slices.Contains(out, st.ARN()) {
			out = append(out, st.ARN())
		}
	}
	return out, nil
}

func sdkDestinations(stores []string) []types.Destination {
	out := make([]types.Destination, 0, len(stores))
	for _, arn := range stores {
		out = append(out, types.Destination{Type: types.DestinationTypeEventDataStore, Location: new(arn)})
	}
	return out
}

func (s *api) channelNameIsFree(x *channel, all []*channel) error {
	for _, other := range all {
		if other.Name == x.Name && other.ID != x.ID {
			return &aws.Error{Op: "cloudtrail", Kind: aws.Conflict, Code: "ChannelAlreadyExistsException", Message: "A channel with the name " + x.Name + " already exists."}
		}
	}
	return nil
}

func (s *api) createChannel(c *call.Call, in *sdk.CreateChannelInput) (*sdk.CreateChannelOutput, error) {
	x := &channel{Account: c.AccountID, Region: c.Region, ID: call.NewID(), Name: str(in.Name), Source: str(in.Source)}
	if !slices.Contains(sources, x.Source) {
		return nil, invalid("InvalidSourceException", "The source %s is not valid. Use Custom, or the name of a partner event source.", x.Source)
	}
	var err error
	if x.Tags, err = mergeTags(nil, in.Tags); err != nil {
		return nil, err
	}
	s.lake.Lock(c)
	if x.Stores, err = s.destinations(c, in.Destinations); err != nil {
		return nil, err
	}
	all, err := channels.list(s.store, c.AccountID, c.Region)
	if err != nil {
		return nil, err
	}
	if err := s.channelNameIsFree(x, all); err != nil {
		return nil, err
	}
	if len(all) >= maxChannels {
		return nil, &aws.Error{Op: "cloudtrail.CreateChannel", Kind: aws.LimitExceeded, Code: "ChannelMaxLimitExceededException",
			Message: "The maximum number of channels in the account has been reached: 25."}
	}
	if err := channels.put(c, x, x.Account, x.Region, x.ID); err != nil {
		return nil, err
	}
	return &sdk.CreateChannelOutput{ChannelArn: new(x.arn()), Name: &x.Name, Source: &x.Source, Destinations: sdkDestinations(x.Stores), Tags: sdkTags(x.Tags)}, nil
}

func (s *api) getChannel(c *call.Call, in *sdk.GetChannelInput) (*sdk.GetChannelOutput, error) {
	x, err := s.findChannel(c, str(in.Channel))
	if err != nil {
		return nil, err
	}
	out := &sdk.GetChannelOutput{ChannelArn: new(x.arn()), Name: &x.Name, Source: &x.Source, Destinations: sdkDestinations(x.Stores)}
	st, err := ingestions.get(s.store, x.Account, x.Region, x.ID)
	if err != nil {
		return nil, err
	}
	if st != nil {
		out.IngestionStatus = &types.IngestionStatus{LatestIngestionAttemptTime: timeOrNil(st.Attempt), LatestIngestionAttemptEventID: optional(st.AttemptID),
			LatestIngestionSuccessTime: timeOrNil(st.Success), LatestIngestionSuccessEventID: optional(st.SuccessID), LatestIngestionErrorCode: optional(st.ErrorCode)}
	}
	return out, nil
}

func (s *api) updateChannel(c *call.Call, in *sdk.UpdateChannelInput) (*sdk.UpdateChannelOutput, error) {
	s.lake.Lock(c)
	x, err := s.findChannel(c, str(in.Channel))
	if err != nil {
		return nil, err
	}
	if len(in.Destinations) > 0 {
		if x.Stores, err = s.destinations(c, in.Destinations); err != nil {
			return nil, err
		}
	}
	if in.Name != nil {
		x.Name = *in.Name
		all, err := channels.list(s.store, x.Account, x.Region)
		if err != nil {
			return nil, err
		}
		if err := s.channelNameIsFree(x, all); err != nil {
			return nil, err
		}
	}
	if err := channels.put(c, x, x.Account, x.Region, x.ID); err != nil {
		return nil, err
	}
	return &sdk.UpdateChannelOutput{ChannelArn: new(x.arn()), Name: &x.Name, Source: &x.Source, Destinations: sdkDestinations(x.Stores)}, nil
}

func (s *api) deleteChannel(c *call.Call, in *sdk.DeleteChannelInput) (*sdk.DeleteChannelOutput, error) {
	s.lake.Lock(c)
	x, err := s.findChannel(c, str(in.Channel))
	if err != nil {
		return nil, err
	}
	channels.delete(c, x.Account, x.Region, x.ID)
	ingestions.delete(c, x.Account, x.Region, x.ID)
	return &sdk.DeleteChannelOutput{}, nil
}

func (s *api) listChannels(c *call.Call, in *sdk.ListChannelsInput) (*sdk.ListChannelsOutput, error) {
	all, err := channels.list(s.store, c.AccountID, c.Region)
	if err != nil {
		return nil, err
	}
	list, next, err := page(all, func(x **channel) string { return (*x).ID }, "ListChannels", str(in.NextToken), in.MaxResults, maxListed)
	if err != nil {
		return nil, err
	}
	out := &sdk.ListChannelsOutput{Channels: []types.Channel{}, NextToken: next}
	for _, x := range list {
		out.Channels = append(out.Channels, types.Channel{ChannelArn: new(x.arn()), Name: &x.Name})
	}
	return out, nil
}

// channelsTo lists the channels of an account whose events go into a store.
func (s *api) channelsTo(account, region, store string) ([]*channel, error) {
	all, err := channels.list(s.store, account, region)
	return slices.DeleteFunc(all, func(x *channel) bool { return !slices.Contains(x.Stores, store) }), err
}
