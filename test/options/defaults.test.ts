import t from 'tap'
import { SESSION_ROUTES_DEFAULTS } from '../../lib/http/routes/session-options.ts'
import { DEFAULTS, DEVICE_BOUND_DEFAULTS, ENCRYPTION_DEFAULTS, FORK_DETECTION_DEFAULTS, NEAR_CACHE_DEFAULTS, SECURITY_LOG_DEFAULTS } from '../../lib/options/defaults.ts'
import { interfacesOf, valueOf } from '../helpers/comments.ts'
import { root } from '../helpers/process.ts'

/** The defaults that the code uses, by file and interface. */
const USED: Record<string, Record<string, object>> = {
  'lib/options/types.ts': {
    SessionOptions: DEFAULTS,
    CookieOptions: DEFAULTS.cookie,
    RememberOptions: DEFAULTS.remember,
    EncryptionOptions: ENCRYPTION_DEFAULTS,
    NearCacheOptions: NEAR_CACHE_DEFAULTS,
    DeviceBoundOptions: DEVICE_BOUND_DEFAULTS,
    ForkDetectionOptions: FORK_DETECTION_DEFAULTS,
    AttemptOptions: DEFAULTS.attempts,
    AttemptLimitOptions: {},
    SecurityLogOptions: SECURITY_LOG_DEFAULTS,
    PagesOptions: DEFAULTS.pages,
    DecoratorOptions: DEFAULTS.decorators
  },
  'lib/http/routes/session-options.ts': { SessionRoutesOptions: SESSION_ROUTES_DEFAULTS }
}

/** Options whose own members have defaults. */
const BY_MEMBER = ['cookie', 'attempts', 'pages', 'decorators']

t.test('the comment of each option names the default that the code uses', async (t) => {
  for (const [file, used] of Object.entries(USED)) {
    for (const [name, members] of interfacesOf(`${root}${file}`)) {
      if (!name.endsWith('Options')) continue
      const values = members.flatMap(({ name, default: text }) => text === undefined ? [] : [[name, valueOf(text)]])
      const expected = Object.entries(used[name] ?? {}).filter(([option]) => !BY_MEMBER.includes(option))
      t.strictSame(Object.fromEntries(values), Object.fromEntries(expected), `${file}: ${name}`)
    }
  }
})
