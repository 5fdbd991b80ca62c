import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { chromium } from 'playwright-core'
import type { Browser, BrowserContext, LaunchOptions } from 'playwright-core'
import { findChromium } from './chromium-binary.ts'
import type { Owner } from './redis.ts'

/** What of a browser every test needs; `trusts`: the fingerprint of a certificate that it takes though nobody vouches for it. `binds`: it can bind sessions to a key, which it keeps in a file, as the test machine has no TPM. */
interface Wishes { trusts?: string, binds?: boolean }

/** A Chromium for which every host whose name ends in `.example` is this machine, closed when the test ends. */
export async function startChromium (t: Owner, wishes: Wishes = {}): Promise<Browser> {
  const browser = await chromium.launch(await optionsOf(wishes))
  t.teardown(async () => await browser.close())
  return browser
}

/**
 * The same with a profile on disk, so that it can be closed and opened again. Third-party cookies are allowed in it,
 * which they are not in the private windows of other contexts, nor where a distribution has its own opinion.
 */
export async function newProfile (t: Owner, wishes: Wishes = {}): Promise<() => Promise<BrowserContext>> {
  const folder = await mkdtemp(join(tmpdir(), 'fus-profile-'))
  await mkdir(join(folder, 'Default'))
  await writeFile(join(folder, 'Default/Preferences'), JSON.stringify({ profile: { cookie_controls_mode: 0 } }))
  const opened: BrowserContext[] = []
  t.teardown(async () => {
    await Promise.all(opened.map(async (context) => await context.close()))
    await rm(folder, { recursive: true, force: true })
  })
  return async () => {
    const context = await chromium.launchPersistentContext(folder, await optionsOf(wishes))
    opened.push(context)
    return context
  }
}

async function optionsOf ({ trusts, binds = false }: Wishes): Promise<LaunchOptions> {
  return {
    executablePath: await findChromium(),
    // Off for tests by playwright, on for people: what the back button shows.
    ignoreDefaultArgs: ['--disable-back-forward-cache'],
    args: [
      '--host-resolver-rules=MAP *.example 127.0.0.1',
      // As if it were installed: a page whose certificate is merely overlooked is never cached, and shows less than people see.
      ...trusts === undefined ? [] : [`--ignore-certificate-errors-spki-list=${trusts}`],
      ...binds ? ['--enable-features=DeviceBoundSessions,EnableBoundSessionCredentialsSoftwareKeysForManualTesting'] : [],
      // Its sandbox wants a user who is not root.
      ...process.getuid?.() === 0 ? ['--no-sandbox'] : []
    ]
  }
}
