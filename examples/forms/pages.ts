// The pages, as template strings. `html` escapes every value that is put into it.

/** A piece of a page, safe to send and to put into another piece. */
class Html {
  readonly text: string

  constructor (text: string) {
    this.text = text
  }
}

const ENTITIES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }

function html (strings: TemplateStringsArray, ...values: Array<string | Html>): Html {
  const escaped = (text: string) => text.replace(/[&<>"']/g, (each) => ENTITIES[each] ?? '')
  const pieces = values.map((value) => value instanceof Html ? value.text : escaped(value))
  return new Html(String.raw({ raw: strings }, ...pieces))
}

const NOTHING = new Html('')

/** A whole page. */
function page (title: string, body: Html): string {
  return html`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${title}</title>
<link rel="stylesheet" href="/style.css">
<main>
<h1>${title}</h1>
${body}
</main>
</html>
`.text
}

interface Form {
  /** What went wrong. */
  problem?: string
  /** The name that was typed in before. Never show a password again. */
  username?: string
}

const alert = (problem?: string): Html => problem === undefined ? NOTHING : html`<p role="alert">${problem}</p>`

export const loginPage = ({ problem, username = '' }: Form = {}): string => page('Sign in', html`
${alert(problem)}
<form method="post" action="/login">
<label>Username <input name="username" value="${username}" maxlength="64" autocomplete="username" required></label>
<label>Password <input name="password" type="password" maxlength="128" autocomplete="current-password" required></label>
<label><input name="remember" type="checkbox"> Keep me signed in</label>
<button>Sign in</button>
</form>
<p>No account yet? <a href="/register">Register</a></p>`)

export const registerPage = ({ problem, username = '' }: Form = {}): string => page('Register', html`
${alert(problem)}
<form method="post" action="/register">
<label>Username <input name="username" value="${username}" maxlength="64" autocomplete="username" required></label>
<label>Password <input name="password" type="password" maxlength="128" autocomplete="new-password" required></label>
<button>Register</button>
</form>
<p>Registered already? <a href="/login">Sign in</a></p>`)

export const homePage = (username: string, signedInAt: Date): string => page('Home', html`
<p>Hello, <strong>${username}</strong>. You signed in at ${signedInAt.toISOString()}.</p>
<form method="post" action="/logout"><button>Sign out</button></form>`)

export const errorPage = (message: string): string => page('Sorry', html`
<p role="alert">${message}</p>
<p><a href="/">Try again</a></p>`)
