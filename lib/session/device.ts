import Bowser from 'bowser'

/** Longest name, in characters. */
const LENGTH = 40
/** Longest part of a header that is read. Longer ones are not from browsers. */
const HEADER_LENGTH = 512
/** Characters that cannot be shown: controls, marks that turn writing around, halves of characters. */
const INVISIBLE = /[\p{Cc}\p{Cf}\p{Cs}]/gu

/**
 * Returns what stays the same of a device while its browser is updated: the name without versions. Of a header that is
 * not recognised, the text without numbers.
 */
export function deviceFamily (userAgent: string): string {
  const { browser, os } = parse(userAgent.slice(0, HEADER_LENGTH))
  const isKnown = browser.name !== undefined && os.name !== undefined
  return isKnown ? `${browser.name} on ${os.name}` : userAgent.slice(0, HEADER_LENGTH).replace(/[\d._]+/g, '')
}

/**
 * Returns a name for the device that a `User-Agent` header is from, for a list of one's sessions: "Firefox 131 on
 * Windows". At most 40 characters. A header that is not recognised is shortened.
 */
export function deviceName (userAgent: string): string {
  const { browser, os } = parse(userAgent.slice(0, HEADER_LENGTH))
  const version = browser.version?.split('.')[0]
  const name = [browser.name, version].filter(Boolean).join(' ')
  const device = name !== '' && os.name !== undefined ? `${name} on ${os.name}` : userAgent.slice(0, HEADER_LENGTH)
  return device.slice(0, LENGTH).replace(INVISIBLE, '')
}

/** Names of browsers and systems. Of a header that it does not know, the parser makes a name of what is in it. */
const NAMES: ReadonlySet<unknown> = new Set([
  ...Object.values(Bowser.BROWSER_MAP), 'Opera Touch', 'Miui', ...Object.values(Bowser.OS_MAP)
])

/** Does what `deviceName` does. Returns `null` of a header that is not recognised: it is whatever a client likes. */
export function knownDeviceName (userAgent: string): string | null {
  const { browser, os } = parse(userAgent.slice(0, HEADER_LENGTH))
  const isKnown = NAMES.has(browser.name) && NAMES.has(os.name) && /^\d*(\.|$)/.test(browser.version ?? '')
  return isKnown ? deviceName(userAgent) : null
}

function parse (userAgent: string): Pick<Bowser.Parser.ParsedResult, 'browser' | 'os'> {
  try {
    return Bowser.parse(userAgent)
  } catch {
    // It throws for an empty string.
    return { browser: {}, os: {} }
  }
}
