import fc from 'fast-check'

const BASE64URL = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
/** What somewhere, by somebody, is taken for white space or for nothing. */
const BLANKS = [' ', '\t', '  ', '\r', '\n', '\r\n', '\v', '\f', '\u0000', '\u00a0', '\u0085', '\u1680', '\u2003', '\u2028', '\u3000', '\ufeff', '\u200b', '\u00ad']

type Mutator = (value: string, at: number, by: number, other: string) => string

const code = (value: string, at: number): number => value.charCodeAt(at) || 0
const put = (value: string, at: number, text: string, instead = 1): string => value.slice(0, at) + text + value.slice(at + instead)
const percent = (text: string): string => [...Buffer.from(text)].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('')
/** Another character whose first bits are the same: what a lenient decoder takes for it at the end of base64. */
const alias = (character: string, by: number): string => BASE64URL[BASE64URL.indexOf(character) ^ (1 + by % 15)] ?? '='

/** Ways to make another text of a real credential. `at` is within it, `by` any number, `other` somebody else's. */
const MUTATORS: Mutator[] = [
  (value, at, by) => put(value, at, String.fromCharCode(code(value, at) ^ (1 << (by % 8)))),
  (value, at, by) => put(value, at, String.fromCharCode(by % 128)),
  (value, at, by) => put(value, at, String.fromCharCode(by % 256)),
  (value, at, by) => put(value, at, String.fromCharCode(by % 65_536)),
  // The same byte, for who looks at the lower half only.
  (value, at, by) => put(value, at, String.fromCharCode(code(value, at) + 256 * (1 + by % 255))),
  (value, at, by) => put(value, at, String.fromCharCode(by % 128), 0),
  (value, at, by) => put(value, at, BLANKS[by % BLANKS.length] as string, 0),
  (value, at, by) => put(value, at, '', 1 + by % 5),
  (value, at) => value.slice(0, at),
  (value, at) => value.slice(at),
  (value, at, by) => put(value, at, value.slice(at, at + 1 + by % 40), 0),
  (value, at) => put(value, at, value.charAt(at) === value.charAt(at).toLowerCase() ? value.charAt(at).toUpperCase() : value.charAt(at).toLowerCase()),
  (value) => value.toLowerCase(),
  (value) => value.toUpperCase(),
  (value, at) => put(value, at, percent(value.charAt(at))),
  (value, _at, by) => by % 2 === 0 ? percent(value) : percent(percent(value)),
  (value, _at, by) => put(value, value.length - 1, alias(value.slice(-1), by)),
  (value, _at, by) => value.replace(/[\w-](?=\.)/g, (character) => alias(character, by)),
  (value) => value.replaceAll('-', '+').replaceAll('_', '/'),
  (value, _at, by) => value + '='.repeat(1 + by % 2),
  (value, _at, by) => BLANKS[by % BLANKS.length] + value,
  (value, _at, by) => value + BLANKS[by % BLANKS.length],
  (value, _at, by) => ['s:', 's%3A', 'S:', 'j:', 'fus_', 'FUS_', 'Bearer ', '='][by % 8] + value,
  (value, _at, by) => [`"${value}"`, `'${value}'`, `"${value}`, `${value}"`, `<${value}>`, `\\"${value}\\"`][by % 6] as string,
  (value, at, _by, other) => value.slice(0, at) + other.slice(at),
  (value, _at, by, other) => value.split('.').map((part, index) => index === by % 3 ? other.split('.')[index] ?? '' : part).join('.'),
  (value, _at, by, other) => value + [',', ', ', ' ', '; ', ';sid=', '; __Host-sid=', '&', '\n'][by % 8] + other,
  (value, _at, by) => value.split('.').slice(by % 3).join('.'),
  (value) => value.split('.').reverse().join('.'),
  (value, at, by) => put(value, at, value.repeat(1 + by % 20)),
  (value) => value.replace(/^fus_/, '').replace(/\.[\w-]{6}$/, ''),
  (value, at) => put(value, at, '.'),
  (value) => value.normalize('NFKD') + '\u0301',
  (value) => [...value].map((character) => String.fromCodePoint(character.codePointAt(0) as number + 0xfee0)).join('')
]

/** Texts that were real credentials, each changed once to three times; now and then one as it is. */
function mutated (real: readonly string[]): fc.Arbitrary<string> {
  const text = fc.constantFrom(...real)
  const change = fc.tuple(fc.constantFrom(...MUTATORS), fc.nat(), fc.nat(), text)
  return fc.tuple(text, fc.array(change, { maxLength: 3, size: 'max' })).map(([value, changes]) => {
    return changes.reduce((present, [mutate, at, number, other]) => mutate(present, at % (present.length + 1), number, other), value)
  })
}

const base64url = (length: number) => fc.string({ unit: fc.constantFrom(...BASE64URL), minLength: length, maxLength: length, size: 'max' })

/** Texts that were never credentials; some look like them. */
const random = fc.oneof(
  fc.string(),
  fc.string({ unit: 'binary' }),
  fc.tuple(base64url(22), base64url(32), base64url(43)).map((parts) => parts.join('.')),
  fc.tuple(base64url(22), base64url(32), base64url(6)).map((parts) => `fus_${parts.join('.')}`),
  fc.tuple(fc.string({ unit: 'binary-ascii', maxLength: 3 }), fc.nat(15_000)).map(([text, times]) => text.repeat(times / 3))
)

/** Texts that stand where a credential should: one that was changed, or none at all. Now and then it is real. */
export function values (real: readonly string[]): fc.Arbitrary<string> {
  return fc.oneof({ weight: 5, arbitrary: mutated(real) }, { weight: 1, arbitrary: random })
}

type Template = (value: string, other: string, name: string) => string

const COOKIES: Template[] = [
  (value, _other, name) => `${name}=${value}`,
  (value, _other, name) => `theme=dark; ${name}=${value}`,
  (value, _other, name) => `${name}=${value}; theme=dark`,
  (value, other, name) => `${name}=${value}; ${name}=${other}`,
  (value, _other, name) => `${name}=${value};${name}=${value}`,
  (value, other, name) => `${name}=${value}, ${name}=${other}`,
  (value, _other, name) => `\t ${name}\t =\t ${value} \t`,
  (value, other, name) => `${name}=${value}; old-sid=${other}`,
  (value, _other, name) => `old-sid=${value}; ${name}`,
  (value, _other, name) => `${name.toUpperCase()}=${value}`,
  (value, _other, name) => `${name.toLowerCase()}=${value}`,
  (value, _other, name) => `${name.replace('H', 'h')}=${value}`,
  (value, _other, name) => `${name}\u00a0=${value}`,
  (value, _other, name) => `${name}\u0000=${value}`,
  (value, _other, name) => `${percent(name)}=${value}`,
  (value, _other, name) => `x${name}=${value}; ${name}x=${value}`,
  (value, _other, name) => `$Version=1; ${name}=${value}; $Path=/`,
  (value, _other, name) => `=${name}=${value}`,
  (value, _other, name) => `${name}==${value}`,
  (value, _other, name) => `"${name}=${value}"`,
  (value) => value,
  (value) => `__proto__=${value}; constructor=${value}; connect.sid=${value}; sessionId=${value}`
]

const AUTHORIZATIONS: Template[] = [
  (value) => `Bearer ${value}`,
  (value) => `bearer   ${value}`,
  (value) => `BEARER ${value} `,
  (value) => `Bearer\t${value}`,
  (value) => `Bearer\u00a0${value}`,
  (value) => `Bearer,${value}`,
  (value, other) => `Bearer ${value},${other}`,
  (value, other) => `Bearer ${value}, Bearer ${other}`,
  (value, other) => `Bearer ${value} ${other}`,
  (value) => `Bearer token="${value}"`,
  (value) => `Bearer: ${value}`,
  (value) => ` Bearer ${value}`,
  (value) => `Bearer${value}`,
  (value) => `Basic ${Buffer.from(`${value}:${value}`).toString('base64')}`,
  (value) => `Basic ${value}, Bearer ${value}`,
  (value) => `Token ${value}`,
  (value) => value,
  () => 'Bearer'
]

/** The credentials that a request claims to have. */
export interface Claim {
  cookie?: string
  authorization?: string
}

/** Requests with credentials made of real ones and of nothing: in a cookie under one of these names or others, as a bearer token, or both. */
export function claims (real: readonly string[], names: readonly string[]): fc.Arbitrary<Claim> {
  const value = values(real)
  const written = (templates: Template[]) => fc.tuple(fc.constantFrom(...templates), value, fc.oneof(value, fc.constantFrom(...real)), fc.constantFrom(...names)).map(([template, ...parts]) => template(...parts))
  const cookie = fc.oneof(written(COOKIES.slice(0, 3)), written(COOKIES))
  const authorization = fc.oneof(written(AUTHORIZATIONS.slice(0, 1)), written(AUTHORIZATIONS))
  return fc.oneof(
    { weight: 6, arbitrary: cookie.map((cookie) => ({ cookie })) },
    { weight: 3, arbitrary: authorization.map((authorization) => ({ authorization })) },
    { weight: 1, arbitrary: fc.record({ cookie, authorization }, { noNullPrototype: true }) }
  )
}
