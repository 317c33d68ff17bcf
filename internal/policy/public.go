package policy

// Public reports whether a statement grants something to everybody, which is
// what S3 calls a public policy: one for any principal without a condition that
// holds it to fixed values of a key that tells who or from where (S3 user guide,
// "Blocking public access to your Amazon S3 storage", "The meaning of public").
func (p *Policy) Public() bool {
	for i := range p.statements {
		s := &p.statements[i]
		if !s.deny && s.principals != nil && (s.principals.any || s.principals.not) && !s.narrowed() {
			return true
		}
	}
	return false
}

// narrowing are the keys whose fixed values keep strangers out.
var narrowing = map[string]bool{
	"aws:sourceip": true, "aws:sourcearn": true, "aws:sourcevpc": true, "aws:sourcevpce": true, "aws:sourceowner": true, "aws:sourceaccount": true,
	"aws:principalorgid": true, "aws:principalorgpaths": true, "aws:principalaccount": true, "aws:principalarn": true, "aws:userid": true,
	"s3:x-amz-server-side-encryption-aws-kms-key-id": true, "s3:dataaccesspointarn": true, "s3:dataaccesspointaccount": true,
}

// Networks that are wider than these are as good as everybody.
const (
	narrowestIPv4 = 8
	narrowestIPv6 = 32
)

func (s *statement) narrowed() bool {
	for i := range s.conditions {
		if c := &s.conditions[i]; narrowing[c.key] && c.fixed() {
			return true
		}
	}
	return false
}

// fixed reports whether the condition fails without its key and for all but
// fixed values of it.
func (c *condition) fixed() bool {
	if c.negated || c.ifExists || c.set == forAll {
		return false
	}
	for i := range c.operands {
		o := &c.operands[i]
		switch c.op {
		case ipAddress:
			least := narrowestIPv6
			if o.network.Addr().Is4() {
				least = narrowestIPv4
			}
			if o.valid && o.network.Bits() < least {
				return false
			}
		case stringEquals, stringEqualsFold, stringLike, arnLike:
			if o.pattern.form != formLiteral && (c.op == stringLike || c.op == arnLike || o.pattern.form == formVariable) {
				return false
			}
		default:
			return false
		}
	}
	return true
}
