package policy

import (
	"errors"
	"fmt"
)

// ErrMalformed is in the chain of every error of Parse.
var ErrMalformed = errors.New("malformed policy")

// Problem is what is wrong with a document. Each has the words that IAM and S3
// have for it.
type Problem uint8

const (
	// BadJSON is a document that is no JSON object.
	BadJSON Problem = iota
	// BadGrammar is JSON that the policy grammar does not know: an unknown
	// element, a wrong type, a missing element.
	BadGrammar
	TooLong
	BadVersion
	UnwantedPrincipal
	MissingPrincipal
	BadPrincipal
	MissingAction
	BadAction
	TwoColons
	BadVendor
	NotAssumeRole
	MissingResource
	UnwantedResource
	BadResource
	// ShortResource is a text that begins as an ARN and has too few parts.
	ShortResource
	BadPartition
	ResourceVendor
	ResourceRegion
	ResourcePath
	BadSid
	RepeatedSid
	BadCondition
	BadConditionKey
	AllowNotPrincipal
)

// SyntaxError is a document that cannot be accepted.
type SyntaxError struct {
	Problem Problem
	// Detail names the part at fault: an element, an ARN, an operator.
	Detail string
}

func (e *SyntaxError) Error() string { return ErrMalformed.Error() + ": " + e.IAM() }

func (e *SyntaxError) Unwrap() error { return ErrMalformed }

func malformed(p Problem, format string, args ...any) error {
	return &SyntaxError{Problem: p, Detail: fmt.Sprintf(format, args...)}
}

// detailed adds what is known to a text of AWS that does not say where the
// fault is.
func (e *SyntaxError) detailed(text string) string {
	if e.Detail == "" {
		return text
	}
	return text + " (" + e.Detail + ")"
}

// IAM is the message of IAM's MalformedPolicyDocument.
func (e *SyntaxError) IAM() string {
	switch e.Problem {
	case BadJSON:
		return e.detailed("This policy contains invalid Json")
	case TooLong:
		return e.detailed("The policy is too long")
	case BadVersion:
		return "The policy must contain a valid version string"
	case UnwantedPrincipal:
		return "Policy document should not specify a principal."
	case MissingPrincipal:
		return "Missing required field Principal"
	case BadPrincipal:
		return "Invalid principal in policy: " + e.Detail
	case MissingAction:
		return "Policy statement must contain actions."
	case BadAction:
		return "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."
	case TwoColons:
		return "Actions/Condition can contain only one colon."
	case BadVendor:
		return "Vendor " + e.Detail + " is not valid"
	case NotAssumeRole:
		return "AssumeRole policy may only specify STS AssumeRole actions."
	case MissingResource:
		return "Policy statement must contain resources."
	case UnwantedResource:
		return "Has prohibited field Resource"
	case BadResource:
		return "Resource " + e.Detail + " must be in ARN format or \"*\"."
	case ShortResource:
		return "The policy failed legacy parsing"
	case BadPartition:
		return "Partition " + e.Detail + "."
	case ResourceVendor:
		return "Resource vendor must be fully qualified and cannot contain regexes."
	case ResourceRegion:
		return "IAM resource " + e.Detail + " cannot contain region information."
	case ResourcePath:
		return "IAM resource path must either be \"*\" or start with " + iamResources() + "."
	case BadSid:
		return "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression [0-9A-Za-z]*"
	case RepeatedSid:
		return "Statement IDs (SID) in a single policy must be unique."
	case BadCondition:
		return "Invalid Condition type : " + e.Detail + "."
	case BadConditionKey:
		return "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."
	case AllowNotPrincipal:
		return "Allow with NotPrincipal is not allowed."
	}
	return e.detailed("Syntax errors in policy.")
}

// S3 is the message of S3's MalformedPolicy.
func (e *SyntaxError) S3() string {
	switch e.Problem {
	case BadJSON:
		return "Policies must be valid JSON and the first byte must be '{'"
	case MissingPrincipal:
		return "Missing required field Principal"
	case BadPrincipal:
		return "Invalid principal in policy"
	case MissingAction:
		return "Missing required field Action"
	case BadAction, TwoColons, BadVendor:
		return "Policy has invalid action"
	case MissingResource:
		return "Missing required field Resource"
	case BadResource, ShortResource, BadPartition, ResourceVendor, ResourceRegion, ResourcePath:
		return "Policy has invalid resource"
	case BadCondition:
		return "Invalid Condition type : " + e.Detail
	case BadConditionKey:
		return "Policy has an invalid condition key"
	}
	return e.IAM()
}
