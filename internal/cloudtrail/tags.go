package cloudtrail

import (
	"strings"
	"unicode/utf8"

	sdk "github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/trail"
)

func (s *api) tagOperations() []call.Operation {
	return []call.Operation{
		call.Op("AddTags", func(_ *call.Call, in *sdk.AddTagsInput) ([]call.Permission, error) {
			return []call.Permission{{Action: "cloudtrail:AddTags", Resource: str(in.ResourceId), Context: tagKeys(in.TagsList)}}, nil
		}, handle(s.addTags), resource(func(_ *call.Call, in *sdk.AddTagsInput, _ *sdk.AddTagsOutput) string { return str(in.ResourceId) })),
		call.Op("RemoveTags", func(_ *call.Call, in *sdk.RemoveTagsInput) ([]call.Permission, error) {
			return []call.Permission{{Action: "cloudtrail:RemoveTags", Resource: str(in.ResourceId), Context: tagKeys(in.TagsList)}}, nil
		}, handle(s.removeTags), resource(func(_ *call.Call, in *sdk.RemoveTagsInput, _ *sdk.RemoveTagsOutput) string { return str(in.ResourceId) })),
		call.Op("ListTags", func(_ *call.Call, in *sdk.ListTagsInput) ([]call.Permission, error) {
			var out []call.Permission
			for _, arn := range in.ResourceIdList {
				out = append(out, call.Permission{Action: "cloudtrail:ListTags", Resource: arn})
			}
			if len(out) == 0 {
				out = append(out, call.Permission{Action: "cloudtrail:ListTags", Resource: "*"})
			}
			return out, nil
		}, handle(s.listTags), call.ReadOnly),
	}
}

// tagKeys are the condition keys of tags given with a call.
func tagKeys(tags []types.Tag) map[string][]string {
	if len(tags) == 0 {
		return nil
	}
	m := map[string][]string{}
	for _, t := range tags {
		m["aws:requesttag/"+strings.ToLower(str(t.Key))] = []string{str(t.Value)}
		m["aws:tagkeys"] = append(m["aws:tagkeys"], str(t.Key))
	}
	return m
}

// mergeTags adds tags to have, replacing those of the same key.
func mergeTags(have []trail.Tag, add []types.Tag) ([]trail.Tag, error) {
	out := append([]trail.Tag(nil), have...)
	given := map[string]bool{}
	for _, t := range add {
		key, value := str(t.Key), str(t.Value)
		switch n := utf8.RuneCountInString(key); {
		case n == 0 || n > maxTagKey || utf8.RuneCountInString(value) > maxTagValue:
			return nil, invalid("InvalidTagParameterException", "Tag key must have 1 to %d characters and tag value at most %d.", maxTagKey, maxTagValue)
		case strings.HasPrefix(strings.ToLower(key), "aws:"):
			return nil, invalid("InvalidTagParameterException", "Tag keys that begin with aws: are reserved.")
		case given[key]:
			return nil, invalid("InvalidTagParameterException", "Tag key %s is given more than once.", key)
		}
		given[key] = true
		found := false
		for i := range out {
			if out[i].Key == key {
				out[i].Value, found = value, true
			}
		}
		if !found {
			out = append(out, trail.Tag{Key: key, Value: value})
		}
	}
	if len(out) > maxTags {
		return nil, &aws.Error{Op: "cloudtrail.AddTags", Kind: aws.LimitExceeded, Code: "TagsLimitExceededException",
			Message: "The number of tags per trail, event data store, or channel has exceeded the permitted amount. Currently, the limit is 50."}
	}
	return out, nil
}

// taggable finds the trail of a tag operation.
func (s *api) taggable(c *call.Call, arn string) (*trail.State, error) {
	a, err := aws.ParseARN(arn)
	if err != nil || a.Service != "cloudtrail" {
		return nil, invalid("CloudTrailARNInvalidException", "Resource ARN %s is not valid.", arn)
	}
	kind, _, _ := strings.Cut(a.Resource, "/")
	switch kind {
	case "trail":
	case "eventdatastore", "channel", "dashboard":
		return nil, resourceNotFound(arn)
	default:
		return nil, invalid("ResourceTypeNotSupportedException", "The resource type %s is not supported by this operation.", kind)
	}
	if err := checkTrailARN(arn); err != nil {
		return nil, err
	}
	t := s.trails.Trail(arn)
	if t == nil || t.Account != c.AccountID {
		return nil, resourceNotFound(arn)
	}
	return t, nil
}

func resourceNotFound(arn string) error {
	return &aws.Error{Op: "cloudtrail", Kind: aws.NotFound, Code: "ResourceNotFoundException", Message: "Resource " + arn + " does not exist."}
}

func (s *api) addTags(c *call.Call, in *sdk.AddTagsInput) (*sdk.AddTagsOutput, error) {
	return &sdk.AddTagsOutput{}, s.changeTags(c, str(in.ResourceId), func(have []trail.Tag) ([]trail.Tag, error) {
		return mergeTags(have, in.TagsList)
	})
}

func (s *api) removeTags(c *call.Call, in *sdk.RemoveTagsInput) (*sdk.RemoveTagsOutput, error) {
	return &sdk.RemoveTagsOutput{}, s.changeTags(c, str(in.ResourceId), func(have []trail.Tag) ([]trail.Tag, error) {
		var out []trail.Tag
	keep:
		for _, t := range have {
			for _, x := range in.TagsList {
				if str(x.Key) == t.Key {
					continue keep
				}
			}
			out = append(out, t)
		}
		return out, nil
	})
}

func (s *api) changeTags(c *call.Call, arn string, fn func([]trail.Tag) ([]trail.Tag, error)) error {
	s.trails.Lock(c)
	old, err := s.taggable(c, arn)
	if err != nil {
		return err
	}
	t := *old
	if t.Tags, err = fn(old.Tags); err != nil {
		return err
	}
	return s.trails.Put(c, &t)
}

func (s *api) listTags(c *call.Call, in *sdk.ListTagsInput) (*sdk.ListTagsOutput, error) {
	if str(in.NextToken) != "" {
		return nil, invalid("InvalidTokenException", "The token is not valid.")
	}
	if len(in.ResourceIdList) > maxListTags {
		return nil, invalid("InvalidParameterException", "At most %d resources can be listed at a time.", maxListTags)
	}
	out := &sdk.ListTagsOutput{ResourceTagList: []types.ResourceTag{}}
	for _, arn := range in.ResourceIdList {
		t, err := s.taggable(c, arn)
		if err != nil {
			return nil, err
		}
		list := types.ResourceTag{ResourceId: new(arn), TagsList: []types.Tag{}}
		for _, x := range t.Tags {
			list.TagsList = append(list.TagsList, types.Tag{Key: new(x.Key), Value: new(x.Value)})
		}
		out.ResourceTagList = append(out.ResourceTagList, list)
	}
	return out, nil
}
