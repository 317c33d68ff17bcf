package sts

import (
	"bytes"
	"compress/flate"
	"errors"
	"net/http"
	"slices"
	"sort"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/sts/types"

	"spoor/internal/aws"
	"spoor/internal/iam"
)

// Limits on what narrows and tags a session (IAM user guide, "IAM and AWS STS
// quotas").
const (
	maxSessionPolicy     = 2048 // characters of inline policy and ARNs
	maxSessionPolicyARNs = 10
	maxSessionTags       = 50
	maxTagKey            = 128 // characters
	maxTagValue          = 256 // characters

	// packedLimit is what a session's policies and tags may come to when packed,
	// in bytes. AWS has such a limit but tells neither it nor the packing.
	packedLimit = 2048
)

// tagSet are a session's tags.
type tagSet struct {
	tags map[string]string // all that the session gets
	// keys are those that the call gives, in its order, and transitive those of
	// all tags that a chain of roles keeps.
	keys       []string
	transitive []string
}

// newTags checks a call's tags and joins them with those that its caller's
// session hands on (IAM user guide, "Pass session tags in AWS STS").
func newTags(given []types.Tag, transitive []string, caller *aws.Caller) (tagSet, error) {
	t := tagSet{tags: map[string]string{}}
	folded := map[string]bool{}
	for _, x := range given {
		k := str(x.Key)
		if err := t.add(folded, k, str(x.Value)); err != nil {
			return t, err
		}
	}
	for _, k := range transitive {
		if !folded[strings.ToLower(k)] {
			return t, invalidParameter("The specified transitive tag key must be included in the requested tags.")
		}
		t.transitive = append(t.transitive, k)
	}
	if caller == nil || caller.Session == nil {
		return t, nil
	}
	for _, k := range caller.Session.TransitiveTagKeys {
		if folded[strings.ToLower(k)] {
			return t, invalidParameter("One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from the calling session.")
		}
		for have, v := range caller.Tags {
			if strings.EqualFold(have, k) {
				t.tags[have] = v
			}
		}
		t.transitive = append(t.transitive, k)
	}
	if len(t.tags) > maxSessionTags {
		return t, invalidParameter("The session has more than %d tags.", maxSessionTags)
	}
	return t, nil
}

func (t *tagSet) add(folded map[string]bool, k, v string) error {
	f := strings.ToLower(k)
	switch {
	case strings.HasPrefix(f, "aws:"):
		return invalidParameter("The tag key %s is reserved: keys that start with aws: belong to AWS.", k)
	case folded[f]:
		return invalidParameter("Duplicate tag keys found. Please note that Tag keys are case insensitive.")
	case len(t.tags) == maxSessionTags, k == "" || utf8.RuneCountInString(k) > maxTagKey, utf8.RuneCountInString(v) > maxTagValue:
		return invalidParameter("A session has at most %d tags, with keys of 1 to %d characters and values of at most %d.", maxSessionTags, maxTagKey, maxTagValue)
	}
	folded[f] = true
	t.tags[k] = v
	t.keys = append(t.keys, k)
	return nil
}

// context are the condition keys of the tags that the call gives or hands on.
func (t *tagSet) context() map[string][]string {
	out := map[string][]string{}
	var keys []string
	for k, v := range t.tags {
		out["aws:requesttag/"+strings.ToLower(k)] = []string{v}
		keys = append(keys, k)
	}
	if keys != nil {
		sort.Strings(keys)
		out["aws:tagkeys"] = keys
	}
	if len(t.transitive) > 0 {
		out["sts:transitivetagkeys"] = slices.Clone(t.transitive)
	}
	return out
}

// narrow takes session policies over and returns how full the session is, in
// percent; nil for one without policies and tags.
func (s *api) narrow(r *iam.SessionRequest, document *string, arns []types.PolicyDescriptorType) (*int32, error) {
	size := utf8.RuneCountInString(str(document))
	if size > maxSessionPolicy {
		return nil, invalid("1 validation error detected: Value at 'policy' failed to satisfy constraint: Member must have length less than or equal to %d", maxSessionPolicy)
	}
	if document != nil {
		if err := s.d.CheckSessionPolicy(document); err != nil {
			return nil, err
		}
		r.Policies = []string{*document}
	}
	if len(arns) > maxSessionPolicyARNs {
		return nil, invalid("1 validation error detected: Value at 'policyArns' failed to satisfy constraint: Member must have length less than or equal to %d", maxSessionPolicyARNs)
	}
	for _, a := range arns {
		if !s.d.HasPolicy(r.Account, str(a.Arn)) {
			return nil, invalid("Policy %s does not exist or is not attachable.", str(a.Arn))
		}
		size += utf8.RuneCountInString(str(a.Arn))
		r.PolicyARNs = append(r.PolicyARNs, *a.Arn)
	}
	if size > maxSessionPolicy {
		return nil, tooLarge("The session policies have %d characters, more than %d.", size, maxSessionPolicy)
	}
	return pack(r)
}

func tooLarge(format string, args ...any) error {
	e := invalid(format, args...)
	var ae *aws.Error
	if errors.As(e, &ae) {
		ae.Code = "PackedPolicyTooLarge"
	}
	return e
}

// pack measures a session's policies and tags as they come packed.
func pack(r *iam.SessionRequest) (*int32, error) {
	if len(r.Policies)+len(r.PolicyARNs)+len(r.Tags) == 0 {
		return nil, nil
	}
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		return nil, err
	}
	keys := make([]string, 0, len(r.Tags))
	for k := range r.Tags {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	texts := slices.Concat(r.Policies, r.PolicyARNs)
	for _, k := range keys {
		texts = append(texts, k, r.Tags[k])
	}
	for _, text := range texts {
		if _, err := w.Write(append([]byte(text), 0)); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	percent := int32((b.Len()*100 + packedLimit - 1) / packedLimit)
	switch {
	case percent <= 100:
		return &percent, nil
	case len(r.Policies)+len(r.PolicyARNs) == 0:
		return nil, tooLarge("Packed size of session tags consumes %d%% of allotted space.", percent)
	}
	return nil, tooLarge("Packed policy consumes %d%% of allotted space, please use smaller policy.", percent)
}

// identityError is an answer to a web identity's token.
func identityError(code string, status int, message string, cause error) error {
	kind := aws.Invalid
	if status == http.StatusForbidden {
		kind = aws.Denied
	}
	return &aws.Error{Op: "sts.AssumeRoleWithWebIdentity", Kind: kind, Status: status, Code: code, Message: message, Err: cause}
}
