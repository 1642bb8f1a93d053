"""The words the sample source is composed of: regression tests of a bank, a shop and their app, in two languages.

Slots: {module} {feature} {check} {actor} {condition} {amount} {minutes}. Module n is the same in both languages.
"""

from typing import NamedTuple


class Module(NamedTuple):
    name: str
    features: tuple[str, ...]
    checks: tuple[str, ...]


class Language(NamedTuple):
    areas: tuple[str, ...]
    modules: tuple[Module, ...]
    aspects: tuple[str, ...]
    actors: tuple[str, ...]
    conditions: tuple[str, ...]
    titles: tuple[str, ...]
    descriptions: tuple[str, ...]
    preconditions: tuple[str, ...]
    steps: tuple[tuple[str, str], ...]


CHINESE = Language(
    areas=("手机银行", "网上商城", "移动应用", "网上银行", "商户后台", "客服系统", "开放平台", "小程序"),
    modules=(
        Module(
            "登录",
            ("密码登录", "短信验证码", "指纹/面容", "登录锁定"),
            ("连续五次密码错误后锁定账户", "验证码过期后不可使用", "退出后不得返回账户页", "异地登录需要二次验证"),
        ),
        Module(
            "注册",
            ("手机号注册", "实名认证", "协议与隐私", "邀请注册"),
            ("已注册手机号不得重复注册", "未勾选协议不能提交", "身份证号校验位错误时提示", "注册成功后自动登录"),
        ),
        Module(
            "支付",
            ("快捷支付", "微信/支付宝", "分期付款", "支付密码"),
            ("重复提交只扣款一次", "余额不足时支付失败且订单保留", "支付超时后关闭订单", "支付金额与订单金额一致"),
        ),
        Module(
            "退款",
            ("全额退款", "部分退款", "退货退款", "退款到账"),
            ("部分退款金额不得超过原单", "多次部分退款累计不超过实付", "退款原路返回", "重复退款请求只处理一次"),
        ),
        Module(
            "转账",
            ("行内转账", "跨行转账", "预约转账", "收款人"),
            ("单笔超过限额时拒绝", "收款人姓名与账号不符时退回", "预约转账可在执行前撤销", "转账后双方余额正确"),
        ),
        Module(
            "订单",
            ("下单", "订单列表", "取消订单", "发货/签收"),
            ("库存不足时不能下单", "取消订单后释放库存", "订单状态按顺序流转", "历史订单分页不重复不遗漏"),
        ),
        Module(
            "购物车",
            ("添加商品", "数量修改", "失效商品", "跨端同步"),
            ("数量不得超过库存", "下架商品标记为失效", "登录后合并游客购物车", "价格变动后提示用户"),
        ),
        Module(
            "优惠券",
            ("领取", "满减", "叠加规则", "过期处理"),
            ("未达到门槛不可使用", "互斥优惠券不能叠加", "退款后优惠券退回", "过期优惠券不在可用列表中"),
        ),
        Module(
            "理财",
            ("产品列表", "申购/赎回", "收益计算", "风险测评"),
            ("风险等级不匹配时禁止申购", "收益按日计算并保留两位小数", "赎回金额不得超过持有", "募集期内可撤单"),
        ),
        Module(
            "消息通知",
            ("推送", "短信", "站内信", "免打扰"),
            ("余额变动后推送通知", "免打扰时段不推送营销消息", "点击通知进入对应页面", "短信中账号需要脱敏"),
        ),
    ),
    aspects=(
        "正常流程", "异常流程", "边界值", "权限", "兼容性", "iOS/Android", "弱网", "并发", "界面", "接口",
        "历史缺陷回归", "新增/修改/删除", "国际化", "安全", "性能", "V2 改版", "灰度", "数据校验", "待评审", "冒烟",
    ),
    actors=("新用户", "普通会员", "金卡会员", "企业用户", "未实名用户", "海外用户", "老年模式用户", "客服坐席"),
    conditions=(
        "网络中断后重试", "Wi-Fi/4G 切换", "应用切到后台再返回", "系统时间被修改", "双设备同时操作", "金额 {amount} 元",
        "横屏", "深色模式", "低版本系统", "会话剩余 {minutes} 分钟", "月末最后一天", "服务端返回 503",
    ),
    titles=(
        "{check}", "{actor}：{check}", "{check}（{condition}）", "{actor}：{check}（{condition}）",
        "{feature}：{check}",
    ),
    descriptions=("", "", "{module}相关用例，每个版本发布前执行。", "由{module}小组维护，变更需评审。"),
    preconditions=(
        "1. 已使用{actor}账号登录。\n2. 账户余额不少于 {amount} 元。",
        "测试环境已部署最新版本，{module}开关已打开。",
        "准备一笔金额为 {amount} 元、已支付的订单。",
        "{actor}账号一个，{minutes} 分钟内未进行过同类操作；清空缓存。",
    ),
    steps=(
        ("以{actor}身份打开“{module}”页面", "页面在 3 秒内加载完成，无报错"),
        ("输入金额 {amount} 元并提交", "提交成功，页面显示金额 {amount} 元"),
        ("在{condition}的情况下再次提交", "提示明确，数据没有重复"),
        ("等待 {minutes} 分钟后刷新页面", "状态已更新，时间显示正确"),
        ("查看{module}的明细记录", "新增一条记录，金额为 {amount} 元，状态为成功"),
        ("点击返回，重新进入“{module}”", "上次填写的内容不再保留，敏感信息已脱敏"),
        ("在后台查询该{actor}的操作日志", "日志包含操作人、时间和结果，与页面一致"),
        ("输入 -1、0、{amount}1 和空值分别提交", "均被拒绝，并提示正确的取值范围"),
        ("关闭应用后重新打开", "回到首页，未完成的操作可以继续"),
        ("核对账务系统中的流水", "借贷平衡，差额为 0.00 元"),
    ),
)  # fmt: skip

ENGLISH = Language(
    areas=(
        "Mobile banking", "Online shop", "Mobile app", "Internet banking", "Merchant portal", "Customer service",
        "Open API", "Mini program",
    ),
    modules=(
        Module(
            "Login",
            ("Password login", "One-time codes", "Fingerprint/Face", "Lockout"),
            ("Account locks after five wrong passwords", "Expired code is refused", "Logout clears the session"),
        ),
        Module(
            "Registration",
            ("By phone number", "Identity check", "Terms and privacy", "Invitations"),
            ("A known number cannot register twice", "Terms must be accepted first", "Invalid ID number is reported"),
        ),
        Module(
            "Payment",
            ("One-click payment", "Credit/debit cards", "Instalments", "Payment PIN"),
            ("Submitting twice charges once", "Insufficient balance keeps the order", "Amount equals the order total"),
        ),
        Module(
            "Refund",
            ("Full refund", "Partial refund", "Returns", "Settlement"),
            ("Refund cannot exceed the original order", "Refund goes back to the payment method used",
             "Repeated partial refunds stay within the amount paid"),
        ),
        Module(
            "Transfers",
            ("Within the bank", "To other banks", "Scheduled transfers", "Payees"),
            ("Transfer above the limit is refused", "Wrong payee name returns the money", "Both balances are correct"),
        ),
        Module(
            "Orders",
            ("Checkout", "Order list", "Cancelling", "Shipping/Delivery"),
            ("Out-of-stock items cannot be ordered", "Cancelling releases the stock", "Paging shows every order once"),
        ),
        Module(
            "Cart",
            ("Adding items", "Quantities", "Unavailable items", "Sync across devices"),
            ("Quantity cannot exceed the stock", "Guest cart is merged after login", "Price changes are announced"),
        ),
        Module(
            "Coupons",
            ("Collecting", "Minimum spend", "Combining", "Expiry"),
            ("Coupon below its minimum spend is refused", "Exclusive coupons do not combine",
             "Coupon comes back after a refund"),
        ),
        Module(
            "Investments",
            ("Product list", "Buy/Redeem", "Interest", "Risk profile"),
            ("Risk mismatch blocks the purchase", "Interest is rounded to cents", "Redeeming stays within holdings"),
        ),
        Module(
            "Notifications",
            ("Push", "SMS", "Inbox", "Do not disturb"),
            ("Balance changes are pushed", "No marketing during quiet hours", "SMS masks the account number"),
        ),
    ),
    aspects=(
        "Happy path", "Error handling", "Boundary values", "Permissions", "Compatibility", "iOS/Android",
        "Weak network", "Concurrency", "User interface", "API", "Former defects", "Create/Update/Delete",
        "Localisation", "Security", "Performance", "Redesign V2", "Canary", "Validation", "To be reviewed", "Smoke",
    ),
    actors=(
        "new user", "regular member", "gold member", "business user", "guest", "user abroad",
        "senior-mode user", "service agent",
    ),
    conditions=(
        "retry after a lost connection", "Wi-Fi/4G handover", "app sent to the background", "changed system time",
        "two devices at once", "amount {amount}", "landscape", "dark mode", "oldest supported system",
        "session ends in {minutes} minutes", "last day of the month", "server answers 503",
    ),
    titles=(
        "{check}", "{check} - {actor}", "{check} ({condition})", "{check} - {actor} ({condition})",
        "{feature}: {check}",
    ),
    descriptions=("", "", "{module}: run before every release.", "Owned by the {module} team; changes are reviewed."),
    preconditions=(
        "1. Signed in as {actor}.\n2. The account holds at least {amount}.",
        "The test environment runs the latest build and {module} is switched on.",
        "There is a paid order over {amount} of a {actor}.",
        "A {actor} without any such operation in the last {minutes} minutes; the cache is empty.",
    ),
    steps=(
        ("Open the {module} page as {actor}", "The page is complete within 3 seconds and shows no error"),
        ("Enter the amount {amount} and submit", "It is accepted and the page shows {amount}"),
        ("Submit once more under the condition: {condition}", "The message is clear and nothing is stored twice"),
        ("Wait {minutes} minutes and reload the page", "The state is up to date and the time shown is right"),
        ("Look up the details of {module}", "There is one new entry over {amount} with the state succeeded"),
        ("Go back and enter {module} again", "The form is empty and sensitive data is masked"),
        ("Find the {actor} in the audit log", "It names who did what and when, and agrees with the page"),
        ("Submit -1, 0, {amount}1 and an empty value in turn", "Each is refused, naming the range allowed"),
        ("Close the app and open it again", "The home page appears and the open operation can be resumed"),
        ("Compare with the entries of the ledger", "Debits and credits agree, the difference is 0.00"),
    ),
)  # fmt: skip

LANGUAGES = (CHINESE, ENGLISH)
LABELS = tuple(
    {"id": number, "title": title}
    for number, title in enumerate(("回归", "冒烟", "自动化", "手工", "regression", "smoke", "automated", "flaky"), 1)
)
VARIANTS = ("", "", "", " - iOS", " - Android", " - H5", " - iPad", " - HarmonyOS")
REFERENCES = ("PAY", "SHOP", "BANK", "APP")
ESTIMATES = (None, None, "2m", "5m", "10m", "30m")
