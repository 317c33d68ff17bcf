// Package cloudtrail is AWS CloudTrail's API (2013-11-01): AWS's validation,
// defaults, limits, errors and answers over the trails of package trail and
// the event history of package history.
//
// It is the handle step of a CloudTrail call. A call that changes a trail
// writes through its own transaction, so the change and its record become
// durable together, and hold for every call answered after.
package cloudtrail

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/glue"
	"spoor/internal/history"
	"spoor/internal/insights"
	"spoor/internal/kv"
	"spoor/internal/lake"
	"spoor/internal/record"
	"spoor/internal/trail"
)

// Limits (CloudTrail user guide, "Quotas in AWS CloudTrail", and the API
// reference).
const (
	maxTrailsPerRegion = 5
	maxPrefix          = 200 // characters of S3KeyPrefix
	maxTopic           = 256 // characters of SnsTopicName
	minTrailName       = 3
	maxTrailName       = 128
	maxTags            = 50
	maxTagKey          = 128
	maxTagValue        = 256
	maxListTags        = 20 // resources of one ListTags
	maxBasicSelectors  = 5
	maxDataValues      = 250
	maxAdvancedValues  = 500
)

// Config is what the service needs.
type Config struct {
	Store   *kv.Store
	Trails  *trail.Manager
	Lake    *lake.Manager
	History *history.Index
	// Insights answers for rates of calls.
	Insights *insights.Manager
	Bucket   trail.Bucket
	Buckets  Buckets       // whose buckets are, and who may read them
	Catalog  *glue.Catalog // where federated event data stores are tables
}

// Buckets answers for the buckets that imports read.
type Buckets interface {
	// PolicyFor is a bucket's policy as it counts for a caller, "" for none.
	PolicyFor(bucket string, caller *aws.Caller) string
	// Account is the account that owns a bucket, "" for none.
	Account(bucket string) string
}

type api struct {
	store    *kv.Store
	trails   *trail.Manager
	lake     *lake.Manager
	history  *history.Index
	insights *insights.Manager
	bucket   trail.Bucket
	buckets  Buckets
	catalog  *glue.Catalog
}

func newAPI(c Config) *api {
	return &api{c.Store, c.Trails, c.Lake, c.History, c.Insights, c.Bucket, c.Buckets, c.Catalog}
}

// Service is AWS CloudTrail as the HTTP listener serves it.
func Service(c Config) *call.Service {
	s := newAPI(c)
	return &call.Service{
		Name: "cloudtrail", EventSource: "cloudtrail.amazonaws.com", APIVersion: "2013-11-01", Protocol: call.JSON11,
		TargetPrefixes: []string{"com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101", "CloudTrail_20131101"},
		Operations: slices.Concat(s.trailOperations(), s.selectorOperations(), s.insightOperations(), s.eventConfigurationOperations(), s.tagOperations(), s.lookupOperations(),
			s.storeOperations(), s.channelOperations(), s.policyOperations(), s.dashboardOperations(), s.importOperations(), s.queryOperations(), s.organizationOperations()),
		RefusedError: refusedError, ValidationError: validationError,
	}
}

// unsupported is the code of what AWS offers and this server does not.
const unsupported = "UnsupportedOperationException"

func refusedError(operation string) error {
	return notOffered(operation, "The operation "+operation+" is not offered by this server.")
}

func organizationsNotInUse(op string) error {
	return &aws.Error{Op: op, Kind: aws.Invalid, Code: "OrganizationsNotInUseException",
		Message: "Your account is not a member of an organization. To make this request, you must use the credentials of an account that belongs to an organization."}
}

// validationError gives violations of the model the modelled exception where
// there is one.
func validationError(message string) error {
	code := "ValidationException"
	for member, c := range map[string]string{
		"'maxResults'": "InvalidMaxResultsException", "'eventCategory'": "InvalidEventCategoryException",
		"'lookupAttributes": "InvalidLookupAttributesException", "'advancedEventSelectors": "InvalidEventSelectorsException",
		"'eventSelectors": "InvalidEventSelectorsException", "'insightSelectors": "InvalidInsightSelectorsException",
	} {
		if strings.Contains(message, "at "+member) {
			code = c
		}
	}
	return &aws.Error{Op: "cloudtrail.decode", Kind: aws.Invalid, Code: code, Message: message}
}

func invalid(code, format string, args ...any) error {
	return &aws.Error{Op: "cloudtrail", Kind: aws.Invalid, Code: code, Message: fmt.Sprintf(format, args...)}
}

func str(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func truth(b *bool) bool { return b != nil && *b }

// onTrail makes an operation's permission: cloudtrail:name on the trail that
// the input names. A name that does not exist still makes an ARN, so that who
// may not know gets a denial and no TrailNotFoundException.
func onTrail[I any](op string, name func(in *I) *string) func(c *call.Call, in *I) ([]call.Permission, error) {
	return func(c *call.Call, in *I) ([]call.Permission, error) {
		n := str(name(in))
		arn := n
		if !strings.HasPrefix(n, "arn:") {
			arn = trail.ARN(c.AccountID, c.Region, n)
		}
		return []call.Permission{{Action: "cloudtrail:" + op, Resource: arn}}, nil
	}
}

// onAll makes the permission of an operation without a resource.
func onAll[I any](op string) func(c *call.Call, in *I) ([]call.Permission, error) {
	return func(*call.Call, *I) ([]call.Permission, error) {
		return []call.Permission{{Action: "cloudtrail:" + op, Resource: "*"}}, nil
	}
}

// handle drops the context of handlers that wait for nothing.
func handle[I, O any](fn func(c *call.Call, in *I) (*O, error)) func(context.Context, *call.Call, *I) (*O, error) {
	return func(_ context.Context, c *call.Call, in *I) (*O, error) { return fn(c, in) }
}

// resource puts the trail into the record's resources.
func resource[I, O any](arn func(c *call.Call, in *I, out *O) string) func(*call.Operation) {
	return call.Describe(func(c *call.Call, in *I, out *O, _ error, r *record.Record) {
		if a := arn(c, in, out); strings.HasPrefix(a, "arn:") {
			r.Resources = append(r.Resources, record.Resource{Type: "AWS::CloudTrail::Trail", ARN: a, AccountID: ownerOf(c, a)})
		}
	})
}

// findTrail finds a trail by name, in the call's region, or by ARN.
func (s *api) findTrail(c *call.Call, nameOrARN string) (*trail.State, error) {
	if strings.HasPrefix(nameOrARN, "arn:") {
		if err := checkTrailARN(nameOrARN); err != nil {
			return nil, err
		}
		if t := s.trails.Trail(nameOrARN); t != nil && t.Account == c.AccountID {
			return t, nil
		}
		return nil, unknownTrail(c, nameOrARN)
	}
	if err := checkTrailName(nameOrARN); err != nil {
		return nil, err
	}
	if t := s.trails.Trail(trail.ARN(c.AccountID, c.Region, nameOrARN)); t != nil {
		return t, nil
	}
	return nil, unknownTrail(c, trail.ARN(c.AccountID, c.Region, nameOrARN))
}

// findHome is findTrail for calls that only the trail's home region takes.
func (s *api) findHome(c *call.Call, nameOrARN string) (*trail.State, error) {
	t, err := s.findTrail(c, nameOrARN)
	if err != nil {
		return nil, err
	}
	if t.HomeRegion != c.Region {
		return nil, invalid("InvalidHomeRegionException", "Trail %s can only be changed in its home region, %s; the request was made in %s.",
			t.ARN(), t.HomeRegion, c.Region)
	}
	return t, nil
}

func unknownTrail(c *call.Call, arn string) error {
	return &aws.Error{Op: "cloudtrail", Kind: aws.NotFound, Code: "TrailNotFoundException",
		Message: fmt.Sprintf("Unknown trail: %s for the user: %s", arn, c.AccountID)}
}
