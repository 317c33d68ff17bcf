package athena

import (
	"context"
	"sort"
	"strings"
	"unicode/utf8"

	sdk "github.com/aws/aws-sdk-go-v2/service/athena"
	"github.com/aws/aws-sdk-go-v2/service/athena/types"

	"spoor/internal/aws"
	"spoor/internal/call"
)

// Limits of tags (Athena user guide, "Tag restrictions").
const (
	maxTags     = 50
	maxTagKey   = 128
	maxTagValue = 256
)

func (s *Service) tagOperations() []call.Operation {
	return []call.Operation{
		call.Op("TagResource", func(c *call.Call, in *sdk.TagResourceInput) ([]call.Permission, error) {
			return s.onTagged(c, "TagResource", in.ResourceARN, requestTags(in.Tags)), nil
		}, s.tagResource),
		call.Op("UntagResource", func(c *call.Call, in *sdk.UntagResourceInput) ([]call.Permission, error) {
			return s.onTagged(c, "UntagResource", in.ResourceARN, map[string][]string{"aws:tagkeys": in.TagKeys}), nil
		}, s.untagResource),
		call.Op("ListTagsForResource", func(c *call.Call, in *sdk.ListTagsForResourceInput) ([]call.Permission, error) {
			return s.onTagged(c, "ListTagsForResource", in.ResourceARN, nil), nil
		}, s.listTags, call.ReadOnly),
	}
}

// requestTags are the condition keys of tags given with a call.
func requestTags(tags []types.Tag) map[string][]string {
	m := map[string][]string{}
	for _, t := range tags {
		m["aws:requesttag/"+strings.ToLower(str(t.Key))] = []string{str(t.Value)}
		m["aws:tagkeys"] = append(m["aws:tagkeys"], str(t.Key))
	}
	return m
}

// resourceTags are the condition keys of the tags that a resource has.
func resourceTags(tags []types.Tag) map[string][]string {
	m := map[string][]string{}
	for _, t := range tags {
		m["aws:resourcetag/"+strings.ToLower(str(t.Key))] = []string{str(t.Value)}
	}
	return m
}

// creating needs the right to create a resource, and to tag it when the call
// does.
func creating(op, arn string, tags []types.Tag) []call.Permission {
	keys := requestTags(tags)
	out := []call.Permission{{Action: "athena:" + op, Resource: arn, Context: keys}}
	if len(tags) > 0 {
		out = append(out, call.Permission{Action: "athena:TagResource", Resource: arn, Context: keys})
	}
	return out
}

func (s *Service) onTagged(c *call.Call, op string, arn *string, keys map[string][]string) []call.Permission {
	p := call.Permission{Action: "athena:" + op, Resource: str(arn), Context: keys}
	if r, err := s.tagged(c, arn); err == nil {
		if p.Context == nil {
			p.Context = map[string][]string{}
		}
		for k, v := range resourceTags(*r.tags) {
			p.Context[k] = v
		}
	}
	return []call.Permission{p}
}

// tagged is a resource that has tags.
type tagged struct {
	tags *[]types.Tag
	save func()
}

// tagged finds a work group or a data catalogue by its ARN.
func (s *Service) tagged(c *call.Call, arn *string) (*tagged, error) {
	a, err := aws.ParseARN(str(arn))
	if err != nil || a.Service != "athena" {
		return nil, invalid(invalidInput, "Invalid ARN: %s", str(arn))
	}
	kind, name, _ := strings.Cut(a.Resource, "/")
	if a.Account == c.AccountID && a.Region == c.Region {
		switch kind {
		case "workgroup":
			if w, err := s.workGroup(c, name); err == nil {
				return &tagged{&w.Tags, func() { c.Tx.Set(key(c, "work-group", w.Name), encode(w)) }}, nil
			}
		case "datacatalog":
			if d, err := s.registered(c, &name); err == nil {
				return &tagged{&d.Tags, func() { c.Tx.Set(key(c, "catalog", strings.ToLower(d.Name)), encode(d)) }}, nil
			}
		}
	}
	return nil, &aws.Error{Op: "athena", Kind: aws.NotFound, Status: 400, Code: "ResourceNotFoundException", Message: "Resource not found: " + str(arn),
		Fields: map[string]any{"ResourceName": str(arn)}}
}

// mergeTags adds tags to those there are, replacing those of the same key.
func mergeTags(have, add []types.Tag) ([]types.Tag, error) {
	byKey := map[string]string{}
	for _, t := range have {
		byKey[str(t.Key)] = str(t.Value)
	}
	for _, t := range add {
		k, v := str(t.Key), str(t.Value)
		switch n := utf8.RuneCountInString(k); {
		case n == 0 || n > maxTagKey || utf8.RuneCountInString(v) > maxTagValue:
			return nil, invalid(invalidInput, "Tag key must have 1 to %d characters and tag value at most %d.", maxTagKey, maxTagValue)
		case strings.HasPrefix(strings.ToLower(k), "aws:"):
			return nil, invalid(invalidInput, "Tag keys that begin with aws: are reserved.")
		}
		byKey[k] = v
	}
	if len(byKey) > maxTags {
		return nil, invalid(invalidInput, "The number of tags exceeds the limit of %d.", maxTags)
	}
	out := make([]types.Tag, 0, len(byKey))
	for k, v := range byKey {
		out = append(out, types.Tag{Key: &k, Value: &v})
	}
	sort.Slice(out, func(i, j int) bool { return *out[i].Key < *out[j].Key })
	return out, nil
}

func (s *Service) tagResource(_ context.Context, c *call.Call, in *sdk.TagResourceInput) (*sdk.TagResourceOutput, error) {
	c.Tx.Lock(&s.writing)
	r, err := s.tagged(c, in.ResourceARN)
	if err != nil {
		return nil, err
	}
	if *r.tags, err = mergeTags(*r.tags, in.Tags); err != nil {
		return nil, err
	}
	r.save()
	return &sdk.TagResourceOutput{}, nil
}

func (s *Service) untagResource(_ context.Context, c *call.Call, in *sdk.UntagResourceInput) (*sdk.UntagResourceOutput, error) {
	c.Tx.Lock(&s.writing)
	r, err := s.tagged(c, in.ResourceARN)
	if err != nil {
		return nil, err
	}
	gone := map[string]bool{}
	for _, k := range in.TagKeys {
		gone[k] = true
	}
	var kept []types.Tag
	for _, t := range *r.tags {
		if !gone[str(t.Key)] {
			kept = append(kept, t)
		}
	}
	*r.tags = kept
	r.save()
	return &sdk.UntagResourceOutput{}, nil
}

func (s *Service) listTags(_ context.Context, c *call.Call, in *sdk.ListTagsForResourceInput) (*sdk.ListTagsForResourceOutput, error) {
	r, err := s.tagged(c, in.ResourceARN)
	if err != nil {
		return nil, err
	}
	limit := maxTags
	if in.MaxResults != nil && *in.MaxResults > 0 {
		limit = int(*in.MaxResults)
	}
	part, next, err := pageOf(*r.tags, in.NextToken, limit, func(t types.Tag) string { return str(t.Key) })
	if part == nil {
		part = []types.Tag{}
	}
	return &sdk.ListTagsForResourceOutput{Tags: part, NextToken: next}, err
}
