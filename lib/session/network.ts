import { isIP } from 'node:net'

/** What an address that is none belongs to: a client behind a socket file, or whatever a trusted proxy passed on. */
const UNKNOWN = 'unknown'

/** IPv4 in the clothes of IPv6: mapped (RFC 4291 2.5.5.2), and translated at the door (RFC 6052 2.1). */
const IPV4_PREFIXES = ['0:0:0:0:0:ffff', '64:ff9b:0:0:0:0']

/** No address is longer: 45 characters of IPv6, and after a % the 15 of an interface's name. */
const LONGEST = 61

/** An address as a session keeps it; `null` for what is none: of a client behind a socket file, or passed on by whoever is trusted to. */
export function addressOf (ip: string | null | undefined): string | null {
  return ip != null && ip.length <= LONGEST && isIP(ip) !== 0 ? ip : null
}

/**
 * The network that an address belongs to, as far as one household or attacker has all of it: an IPv4 address, the
 * first 64 bits of an IPv6 address (RFC 4291 2.5.1). Whoever has one of its addresses has 2^64 (CVE-2026-45364).
 */
export function networkOf (ip: string | undefined): string {
  const text = ip ?? ''
  if (isIP(text) === 4) return text
  if (isIP(text) !== 6) return UNKNOWN
  const groups = groupsOf(text)
  if (!IPV4_PREFIXES.includes(hex(groups.slice(0, 6)))) return `${hex(groups.slice(0, 4))}::/64`
  const [high = 0, low = 0] = groups.slice(6)
  return [high >> 8, high & 255, low >> 8, low & 255].join('.')
}

/** The eight numbers of an IPv6 address. */
function groupsOf (ip: string): number[] {
  const [address = ''] = ip.split('%')
  // An IPv4 address at its end is two of them.
  const text = address.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_, ...bytes: string[]) => hex([0, 2].map((at) => Number(bytes[at]) * 256 + Number(bytes[at + 1]))))
  const [before = [], after = []] = text.split('::').map((part) => part === '' ? [] : part.split(':').map((group) => parseInt(group, 16)))
  return [...before, ...new Array<number>(8 - before.length - after.length).fill(0), ...after]
}

function hex (groups: number[]): string {
  return groups.map((group) => group.toString(16)).join(':')
}
