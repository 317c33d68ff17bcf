package cloudtrail

import (
	"strings"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/trail"
)

// held is what every resource of CloudTrail has, whatever its kind: tags and,
// but for trails, a policy. save writes the resource with what was changed.
type held struct {
	tags   []trail.Tag
	policy string
	save   func(h *held) error
}

// hold finds a resource by its ARN. With change the resource's lock is taken
// first, and save may be called.
func (s *api) hold(c *call.Call, arn string, change bool) (*held, error) {
	a, err := parseARN(arn)
	if err != nil {
		return nil, invalid("CloudTrailARNInvalidException", "Resource ARN %s is not valid.", arn)
	}
	kind, name, _ := strings.Cut(a.Resource, "/")
	if change && kind == "trail" {
		s.trails.Lock(c)
	} else if change {
		s.lake.Lock(c)
	}
	switch kind {
	case "trail":
		return s.holdTrail(c, arn)
	case "eventdatastore":
		return s.holdStore(c, arn)
	case "channel":
		x, err := s.findChannel(c, arn)
		if err != nil {
			return nil, notThere(err, arn)
		}
		return &held{x.Tags, x.Policy, func(h *held) error {
			x.Tags, x.Policy = h.tags, h.policy
			return channels.put(c, x, x.Account, x.Region, x.ID)
		}}, nil
	case "dashboard":
		x, err := dashboards.get(s.store, a.Account, c.Region, name)
		if err == nil && (x == nil || a.Region != c.Region) {
			err = resourceNotFound(arn)
		}
		if err != nil {
			return nil, err
		}
		return &held{x.Tags, x.Policy, func(h *held) error {
			x.Tags, x.Policy = h.tags, h.policy
			return dashboards.put(c, x, x.Account, x.Region, x.Name)
		}}, nil
	}
	return nil, invalid("ResourceTypeNotSupportedException", "The resource type %s is not supported by this operation.", kind)
}

func (s *api) holdTrail(c *call.Call, arn string) (*held, error) {
	if err := checkTrailARN(arn); err != nil {
		return nil, err
	}
	t := s.trails.Trail(arn)
	if t == nil || t.Account != c.AccountID {
		return nil, resourceNotFound(arn)
	}
	return &held{tags: t.Tags, save: func(h *held) error {
		next := *t
		next.Tags = h.tags
		return s.trails.Put(c, &next)
	}}, nil
}

func (s *api) holdStore(c *call.Call, arn string) (*held, error) {
	st, err := s.activeStore(c, arn)
	if err != nil {
		return nil, notThere(err, arn)
	}
	return &held{st.Tags, st.Policy, func(h *held) error {
		next := *st
		next.Tags, next.Policy = h.tags, h.policy
		return s.lake.Put(c, &next)
	}}, nil
}

// notThere gives what a resource's own operations say of its absence the form
// that operations on any resource give it.
func notThere(err error, arn string) error {
	if aws.IsKind(err, aws.NotFound) {
		return resourceNotFound(arn)
	}
	return err
}

func resourceNotFound(arn string) error {
	return &aws.Error{Op: "cloudtrail", Kind: aws.NotFound, Code: "ResourceNotFoundException", Message: "Resource " + arn + " does not exist."}
}

// heldPermission is the permission for an operation on any resource.
func (s *api) heldPermission(c *call.Call, op, arn string) (call.Permission, error) {
	switch _, kind := arnKind(arn); kind {
	case "eventdatastore":
		return s.storePermission(c, op, arn), nil
	case "channel":
		return s.channelPermission(c, "cloudtrail:"+op, arn)
	case "dashboard":
		return s.dashboardPermission(c, op, arn)
	}
	return call.Permission{Action: "cloudtrail:" + op, Resource: arn}, nil
}

func arnKind(arn string) (a aws.ARN, kind string) {
	a, err := parseARN(arn)
	if err != nil {
		return a, ""
	}
	kind, _, _ = strings.Cut(a.Resource, "/")
	return a, kind
}

// ownerOf is the account that a record gives a resource: the one that its ARN
// names.
func ownerOf(c *call.Call, arn string) string {
	if a, err := aws.ParseARN(arn); err == nil && len(a.Account) == len("123456789012") {
		return a.Account
	}
	return c.AccountID
}

// typeOf is the type that a record gives a resource.
func typeOf(arn string) string {
	switch _, kind := arnKind(arn); kind {
	case "eventdatastore":
		return storeType
	case "channel":
		return channelType
	case "dashboard":
		return dashboardType
	}
	return "AWS::CloudTrail::Trail"
}
