import { relative } from 'node:path'
import ts from 'typescript'
import { root } from './process.ts'

/** A name that users see in their editor. */
interface PublicName {
  /** `SessionOptions.idleTimeout`. */
  readonly name: string
  /** Place of its declaration: `lib/options/types.ts:61:3`. */
  readonly at: string
  /** Its doc comment, or that of what it implements. */
  readonly comment: string
  /** Text of `@default`. */
  readonly default: string | undefined
}

/** Texts of files that differ from what is on disk, or are not there, by path. */
type Texts = Record<string, string>

const { options: compilerOptions, fileNames } = ts.parseJsonConfigFileContent(
  ts.readConfigFile(`${root}tsconfig.json`, ts.sys.readFile).config, ts.sys, root
)

/** Returns the files that an application can import, as `package.json` names them. */
export function entryPoints (): string[] {
  const text = ts.sys.readFile(`${root}package.json`) ?? ''
  const { exports } = JSON.parse(text) as { exports: Record<string, { types?: string }> }
  return Object.values(exports).flatMap(({ types }) => types === undefined ? [] : [sourceOf(types)])
}

/** Returns the source of a declaration file: that of `./dist/lib/index.d.ts` is `lib/index.ts`. */
function sourceOf (declarations: string): string {
  return declarations.replace(/^\.\/dist\//, '').replace(/\.d\.ts$/, '.ts')
}

/**
 * Lists the names that users of some files see: what the files export, the members of that, and the members of the
 * types that it leads to. Also what `declare module` adds to Fastify. Lists only what is declared in this package.
 */
export function publicNames (files: string[], texts: Texts = {}): PublicName[] {
  const host = ts.createCompilerHost(compilerOptions)
  const { getSourceFile, fileExists } = host
  host.fileExists = (path) => relative(root, path) in texts || fileExists(path)
  host.getSourceFile = (path, options, ...others) => {
    const text = texts[relative(root, path)]
    return text === undefined ? getSourceFile(path, options, ...others) : ts.createSourceFile(path, text, options)
  }
  return new Walk(ts.createProgram(files.map((file) => `${root}${file}`), compilerOptions, host)).from(files)
}

/**
 * Returns what an editor shows at the places of a program that are marked `/*here*\/`: the doc comment, and each tag as
 * `@default true`.
 */
export function hoverTexts (program: string): string[] {
  const path = `${root}hover.ts`
  const service = ts.createLanguageService({
    getCompilationSettings: () => compilerOptions,
    getScriptFileNames: () => [...fileNames, path],
    getScriptVersion: () => '1',
    getScriptSnapshot: (file) => {
      const text = file === path ? program : ts.sys.readFile(file)
      return text === undefined ? undefined : ts.ScriptSnapshot.fromString(text)
    },
    getCurrentDirectory: () => root,
    getDefaultLibFileName: ts.getDefaultLibFilePath,
    readFile: ts.sys.readFile,
    fileExists: (file) => file === path || ts.sys.fileExists(file),
    directoryExists: ts.sys.directoryExists,
    realpath: (file) => ts.sys.realpath?.(file) ?? file
  })
  const texts = [...program.matchAll(/\/\*here\*\//g)].map(({ 0: mark, index }) => {
    const { documentation, tags = [] } = service.getQuickInfoAtPosition(path, index + mark.length) ?? {}
    const lines = tags.map(({ name, text }) => `@${name} ${ts.displayPartsToString(text)}`)
    return [ts.displayPartsToString(documentation), ...lines].join('\n')
  })
  service.dispose()
  return texts
}

const { Interface, Class, TypeAlias, TypeLiteral } = ts.SymbolFlags
const NAMED_TYPES = Interface | Class | TypeAlias | TypeLiteral

/** Goes from the exports of files to everything that they lead to. */
class Walk {
  readonly #program: ts.Program
  readonly #checker: ts.TypeChecker
  readonly #names = new Map<string, PublicName>()
  readonly #seen = new Set<ts.Type>()

  constructor (program: ts.Program) {
    this.#program = program
    this.#checker = program.getTypeChecker()
  }

  from (files: string[]): PublicName[] {
    for (const file of files) {
      const source = this.#program.getSourceFile(`${root}${file}`)
      const module = source === undefined ? undefined : this.#checker.getSymbolAtLocation(source)
      if (module === undefined) throw new Error(`${file} exports nothing`)
      for (const symbol of this.#checker.getExportsOfModule(module)) this.#visitExport(symbol)
    }
    for (const symbol of this.#augmented()) this.#visitDeclared(symbol)
    return [...this.#names.values()]
  }

  /** Returns the interfaces of others to which this package adds members. */
  #augmented (): ts.Symbol[] {
    const ours = this.#program.getSourceFiles().filter(({ fileName }) => isOurs(fileName))
    const modules = ours.flatMap(({ statements }) => statements.filter(ts.isModuleDeclaration))
    const bodies = modules.map(({ body }) => body).filter((body) => body !== undefined).filter(ts.isModuleBlock)
    const inside = bodies.flatMap(({ statements }) => statements.filter(ts.isInterfaceDeclaration))
    const symbols = inside.map(({ name }) => this.#checker.getSymbolAtLocation(name))
    return symbols.filter((symbol) => symbol !== undefined)
  }

  #visitExport (exported: ts.Symbol): void {
    const symbol = exported.flags & ts.SymbolFlags.Alias ? this.#checker.getAliasedSymbol(exported) : exported
    this.#add(symbol, symbol.name)
    if (symbol.flags & ts.SymbolFlags.Value) {
      const type = this.#checker.getTypeOfSymbol(symbol)
      for (const signature of type.getConstructSignatures()) this.#visitSignature(signature, symbol.name)
      this.#visitType(type, symbol.name)
    }
    if (symbol.flags & ts.SymbolFlags.Type) this.#visitDeclared(symbol)
  }

  #visitDeclared (symbol: ts.Symbol): void {
    this.#visitMembers(this.#checker.getDeclaredTypeOfSymbol(symbol), symbol.name)
  }

  #visitMembers (type: ts.Type, name: string): void {
    if (this.#seen.has(type)) return
    this.#seen.add(type)
    for (const signature of type.getCallSignatures()) this.#visitSignature(signature, name)
    for (const member of this.#checker.getPropertiesOfType(type).filter(isVisible)) {
      const path = `${ownerOf(member) ?? name}.${member.name}`
      this.#add(member, path)
      this.#visitType(this.#checker.getTypeOfSymbol(member), path)
    }
  }

  #visitSignature (signature: ts.Signature, name: string): void {
    if (signature.getJsDocTags().some((tag) => tag.name === 'internal')) return
    const types = signature.getParameters().map((parameter) => this.#checker.getTypeOfSymbol(parameter))
    for (const type of [...types, signature.getReturnType()]) this.#visitType(type, name)
  }

  #visitType (type: ts.Type, name: string): void {
    if (type.isUnionOrIntersection()) {
      for (const part of type.types) this.#visitType(part, name)
      return
    }
    for (const signature of type.getCallSignatures()) this.#visitSignature(signature, name)
    for (const argument of [...this.#argumentsOf(type), ...type.aliasTypeArguments ?? []]) {
      if (argument !== type) this.#visitType(argument, name)
    }
    const symbol = type.aliasSymbol ?? type.getSymbol()
    if (symbol !== undefined && symbol.flags & NAMED_TYPES && isVisible(symbol)) this.#visitMembers(type, name)
  }

  #argumentsOf (type: ts.Type): readonly ts.Type[] {
    const flags = type.flags & ts.TypeFlags.Object ? (type as ts.ObjectType).objectFlags : 0
    return flags & ts.ObjectFlags.Reference ? this.#checker.getTypeArguments(type as ts.TypeReference) : []
  }

  #add (symbol: ts.Symbol, name: string): void {
    const at = placeOf(symbol)
    if (this.#names.has(at)) return
    const defaults = symbol.getJsDocTags().filter((tag) => tag.name === 'default')
    this.#names.set(at, {
      name,
      at,
      comment: ts.displayPartsToString(symbol.getDocumentationComment(this.#checker)).trim(),
      default: defaults.map(({ text }) => ts.displayPartsToString(text))[0]
    })
  }
}

/** Whether a file is of this package, and no test. */
function isOurs (path: string): boolean {
  return /^(lib|types)\//.test(relative(root, path))
}

/** Whether a symbol is declared here, and for everybody to use. */
function isVisible (symbol: ts.Symbol): boolean {
  const declarations = symbol.declarations ?? []
  const isHidden = declarations.some((declaration) => {
    const name = ts.getNameOfDeclaration(declaration)
    const isPrivate = ts.getCombinedModifierFlags(declaration) & (ts.ModifierFlags.Private | ts.ModifierFlags.Protected)
    return isPrivate !== 0 || (name !== undefined && ts.isPrivateIdentifier(name))
  })
  const isPrototype = (symbol.flags & ts.SymbolFlags.Prototype) !== 0
  return !isHidden && !isPrototype && declarations.some((declaration) => isOurs(declaration.getSourceFile().fileName))
}

/** Returns the name of the interface or class that declares a member. `undefined`: it has none. */
function ownerOf ({ declarations = [] }: ts.Symbol): string | undefined {
  const owner = declarations[0]?.parent
  const isNamed = owner !== undefined && (ts.isInterfaceDeclaration(owner) || ts.isClassLike(owner))
  return isNamed ? owner.name?.text : undefined
}

function placeOf ({ name, declarations = [] }: ts.Symbol): string {
  const declaration = declarations.find((each) => isOurs(each.getSourceFile().fileName))
  if (declaration === undefined) return name
  const source = declaration.getSourceFile()
  const { line, character } = source.getLineAndCharacterOfPosition(declaration.getStart())
  return `${relative(root, source.fileName)}:${line + 1}:${character + 1}`
}
