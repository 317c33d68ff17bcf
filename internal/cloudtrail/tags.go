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
		call.Op("AddTags", func(c *call.Call, in *sdk.AddTagsInput) ([]call.Permission, error) {
			return s.tagPermission(c, "AddTags", str(in.ResourceId), in.TagsList)
		}, handle(s.addTags), heldResource(func(in *sdk.AddTagsInput) *string { return in.ResourceId })),
		call.Op("RemoveTags", func(c *call.Call, in *sdk.RemoveTagsInput) ([]call.Permission, error) {
			return s.tagPermission(c, "RemoveTags", str(in.ResourceId), in.TagsList)
		}, handle(s.removeTags), heldResource(func(in *sdk.RemoveTagsInput) *string { return in.ResourceId })),
		call.Op("ListTags", func(c *call.Call, in *sdk.ListTagsInput) ([]call.Permission, error) {
			var out []call.Permission
			for _, arn := range in.ResourceIdList {
				p, err := s.heldPermission(c, "ListTags", arn)
				if err != nil {
					return out, err
				}
				out = append(out, p)
			}
			if len(out) == 0 {
				out = append(out, call.Permission{Action: "cloudtrail:ListTags", Resource: "*"})
			}
			return out, nil
		}, handle(s.listTags), call.ReadOnly),
	}
}

func (s *api) tagPermission(c *call.Call, op, arn string, tags []types.Tag) ([]call.Permission, error) {
	p, err := s.heldPermission(c, op, arn)
	for k, v := range tagKeys(tags) {
		if p.Context == nil {
			p.Context = map[string][]string{}
		}
		p.Context[k] = v
	}
	return []call.Permission{p}, err
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
	h, err := s.hold(c, arn, true)
	if err != nil {
		return err
	}
	if h.tags, err = fn(h.tags); err != nil {
		return err
	}
	return h.save(h)
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
		h, err := s.hold(c, arn, false)
		if err != nil {
			return nil, err
		}
		out.ResourceTagList = append(out.ResourceTagList, types.ResourceTag{ResourceId: new(arn), TagsList: sdkTags(h.tags)})
	}
	return out, nil
}
