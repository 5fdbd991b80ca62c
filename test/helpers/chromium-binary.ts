import { constants } from 'node:fs'
import { access } from 'node:fs/promises'
import { delimiter, join } from 'node:path'

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable']

/** The path of a Chromium: `CHROMIUM_PATH`, or the first that `PATH` has. */
export async function findChromium (): Promise<string> {
  const { CHROMIUM_PATH, PATH = '' } = process.env
  const paths = CHROMIUM_PATH ? [CHROMIUM_PATH] : NAMES.flatMap((name) => PATH.split(delimiter).filter(Boolean).map((folder) => join(folder, name)))
  for (const path of paths) {
    if (await access(path, constants.X_OK).then(() => true, () => false)) return path
  }
  throw new Error(`These tests need Chromium, and ${CHROMIUM_PATH ? 'CHROMIUM_PATH names none' : 'PATH has none'}: install it (apt-get install --no-install-recommends chromium) or set CHROMIUM_PATH to the path of chromium or google-chrome.`)
}

// As a program it says nothing, or what is missing.
if (process.argv[1] === import.meta.filename) {
  await findChromium().catch((error: unknown) => {
    console.error((error as Error).message)
    process.exitCode = 1
  })
}
