"""Chinese for every text that is spoken; a test holds it against the code."""

TEXTS: dict[str, str] = {
    "{said}. {remedy}": "{said}。{remedy}",
    "error {code}: {what}": "错误 {code}：{what}",
    "  fix   {remedy}": "  处理  {remedy}",
    # runs and their states
    "collection {collection} is being collected by run {run}": "收集 {collection} 正由运行 {run} 执行",
    "Watch it with: collect status {run}": "查看进展：collect status {run}",
    "run {run} is {state}": "运行 {run} 的状态是 {state}",
    "Begin anew: collect run {collection}": "重新开始：collect run {collection}",
    "run {run} was taken over by another process": "运行 {run} 已被另一个进程接管",
    "there is no run {run}": "没有运行 {run}",
    "List them with: collect status": "列出所有运行：collect status",
    "shard {run}/{shard} is {state} and held by {owner}": "分片 {run}/{shard} 的状态是 {state}，由 {owner} 持有",
    "shard {run}/{shard} was taken over by another worker": "分片 {run}/{shard} 已被另一个工作进程接管",
    "Watch it with: collect shards {run}": "查看进展：collect shards {run}",
    "run {run} was cancelled ({reason})": "运行 {run} 已取消（{reason}）",
    "run {run} is under way: its process is alive": "运行 {run} 正在进行：它的进程还活着",
    "there is no collection {name}": "没有名为 {name} 的收集",
    "List them with: collect list": "列出所有收集：collect list",
    "the Prefect server at {api} stopped answering": "位于 {api} 的 Prefect 服务器不再应答",
    "Bring it back, then: collect resume {run}": "恢复它，然后：collect resume {run}",
    "something unexpected happened: {error}": "发生了意料之外的错误：{error}",
    "It is a defect: please report it with the log.": "这是程序缺陷：请附上日志报告给我们。",
    # the summary of a run
    " in {time}": "，用时 {time}",
    "  records   {counts}   {rate:,.0f}/s": "  记录  {counts}   {rate:,.0f} 条/秒",
    "  shard     {shard}: {why}": "  分片  {shard}：{why}",
    "  refused   {count:,} {reason}": "  隔离  {count:,} {reason}",
    "  error     {why}": "  错误  {why}",
    "  next      {commands}": "  接着  {commands}",
    "  Prefect   {ui}/runs/flow-run/{flow_run}": "  Prefect   {ui}/runs/flow-run/{flow_run}",
    "  go on with: collect resume {run}": "  继续：collect resume {run}",
    "{command} (when the cause is gone)": "{command}（原因消除之后）",
    "done": "完成",
    "partly done": "部分完成",
    "paused": "已暂停",
    "failed": "失败",
    "cancelled": "已取消",
    "fetched": "已读取",
    "new": "新增",
    "changed": "变更",
    "unchanged": "未变",
    "quarantined": "隔离",
    "deleted": "删除",
    # usage
    "See what there is: {command} --help": "查看用法：{command} --help",
    # beside the data
    "shard by shard: collect shards {run}": "逐个分片：collect shards {run}",
    "there is no such run in {home}; begin one with: collect run demo": "{home} 中没有这样的运行；开始一个：collect run demo",
    "run {run} has no shards: its source was empty, or could not be asked": "运行 {run} 没有分片：来源是空的，或无法询问",
    "nothing is quarantined": "没有被隔离的记录",
    "stopping after the last checkpoint; Ctrl-C again stops at once …": "在最近的检查点之后停止；再按 Ctrl-C 立即停止 …",
    "starting the Prefect server (end it with: collect down) …": "正在启动 Prefect 服务器（结束它：collect down）…",
    "another process holds run {run}; waiting up to {left:.0f} s for a sign of life …": "另一个进程持有运行 {run}；最多等待 {left:.0f} 秒看它是否还活着 …",
    "run {run} had stopped; this one takes its place": "运行 {run} 已停止；由本次运行接替",
    "run {run} is complete already": "运行 {run} 已经完成",
    "end it with: collect down": "结束它：collect down",
    "starting the Prefect server …": "正在启动 Prefect 服务器 …",
    # the sample source
    "the sample source cannot work with {what} {value}": "示例来源不能使用 {what} {value}",
    "Use {expected}.": "请使用：{expected}。",
    "the sample source cannot listen at {host}:{port} ({why})": "示例来源无法监听 {host}:{port}（{why}）",
    "Take a free port with: collect sample --port 0": "使用空闲端口：collect sample --port 0",
    # collectors and their parameters
    "there is no collector {name!r}": "没有名为 {name!r} 的采集器",
    "{guess}List them with: collect collectors": "{guess}用 collect collectors 列出全部采集器",
    "several installed packages offer a collector {name!r}: {origins}": (
        "多个已安装的包都提供采集器 {name!r}：{origins}"
    ),
    "Uninstall all but one of them, or have one of them renamed in its entry point.": (
        "只保留其中一个，卸载其余的；或者修改其中一个入口点的名称。"
    ),
    "collector {name!r} of {origin} cannot be imported ({why})": "{origin} 的采集器 {name!r} 无法导入（{why}）",
    "Install what it needs, or uninstall it.": "安装它所需要的包，或者卸载它。",
    "collector {name!r} of {origin} is no collector: it has no {missing}": (
        "{origin} 的 {name!r} 不是采集器：缺少 {missing}"
    ),
    "See docs/writing-a-collector.md for what a collector has to offer.": (
        "采集器必须具备什么，见 docs/writing-a-collector.md。"
    ),
    "source.{key} refers to the environment variable {name}, which is not set": (
        "source.{key} 引用的环境变量 {name} 没有设置"
    ),
    "Set it: export {name}=...": "设置它：export {name}=...",
    "Did you mean {word}? ": "您是想写 {word} 吗？",
    "{mistakes}": "{mistakes}",
    "unknown key {path!r}": "未知的键 {path!r}",
    "unknown key {path!r}. {guess}Known here: {known}": "未知的键 {path!r}。{guess}这里可用的键：{known}",
    "{path} is missing": "缺少 {path}",
    "{path}: {said} (found {value!r:.60})": "{path}：{said}（现在是 {value!r:.60}）",
    " (found {found})": "（实际是 {found}）",
    " (found {found}; quote it)": "（实际是 {found}；请加引号）",
    "something else": "别的东西",
    "nothing": "空",
    "yes or no": "是或否",
    "a number": "数字",
    "text": "文本",
    "a date": "日期",
    "a list": "列表",
    "further keys": "下级键",
}
