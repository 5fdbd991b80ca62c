import { isIP } from 'node:net'

/** The network of what is no address: of a client behind a socket file, or what a trusted proxy passed on. */
const UNKNOWN = 'unknown'

/** Prefixes of IPv4 addresses written as IPv6: mapped (RFC 4291 2.5.5.2) and translated (RFC 6052 2.1). */
const IPV4_PREFIXES = ['0:0:0:0:0:ffff', '64:ff9b:0:0:0:0']

/** Longest address: 45 characters of IPv6, and after a % the 15 of an interface's name. */
const LONGEST = 61

/** Returns an address as a session keeps it. Returns `null` for what is no address. */
export function addressOf (ip: string | null | undefined): string | null {
  return ip != null && ip.length <= LONGEST && isIP(ip) !== 0 ? ip : null
}

/**
 * Returns the network of an address, as far as one household or attacker has all of it: an IPv4 address, or the first
 * 64 bits of an IPv6 address (RFC 4291 2.5.1). Who has one address of those has 2^64 (CVE-2026-45364).
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

/** Returns the eight numbers of an IPv6 address. */
function groupsOf (ip: string): number[] {
  const [address = ''] = ip.split('%')
  // An IPv4 address at its end is two of them.
  const text = address.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_, ...bytes: string[]) => {
    return hex([0, 2].map((at) => Number(bytes[at]) * 256 + Number(bytes[at + 1])))
  })
  const [before = [], after = []] = text.split('::').map((part) => {
    return part === '' ? [] : part.split(':').map((group) => parseInt(group, 16))
  })
  return [...before, ...new Array<number>(8 - before.length - after.length).fill(0), ...after]
}

function hex (groups: number[]): string {
  return groups.map((group) => group.toString(16)).join(':')
}
