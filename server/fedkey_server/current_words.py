"""Words of today that public lists lack, and misspellings that they have, as people put them right by hand.

In: nothing. Out: words for `fedkey_server.vocabulary`. Next stop: there.

The lists are of books, subtitles and text until 2021, and tell slips by how near and how much more frequent
another word is: "gif" counts as a slip of "if", and "reccomend" is too far from "recommend" to be one.
"""

from __future__ import annotations

CURRENT_WORDS = frozenset(
    # What people use and where they buy it.
    "TikTok TikToks Lyft Venmo Zelle Grubhub Instacart Airbnbs Ubers Trello Asana Jira Figma Canva OneDrive "
    "Gmails Bing DuckDuckGo ChatGPT OpenAI Siri Cortana Crunchyroll Pinterest Quora FaceTimed FaceTiming "
    "Glassdoor Zillow Etsy Shein Temu Wayfair CVS Popeyes Panera IHOP Sainsburys Asda Waitrose Primark "
    "Uniqlo Lululemon Yeezy Yeezys Crocs Uggs Spanx Ulta USPS DHL SpaceX Kia TMobile CashApp Robinhood "
    "QuickBooks TurboTax Fitbits GoPros AirPod AirTag AirTags MacBooks iMac Valorant YouTuber YouTubers "
    "googled PowerPoints Shopify "
    # Computers and the net.
    "vlog vlogs vlogger vloggers vlogging podcaster podcasters podcasting livestreams livestreaming "
    "livestreamed influencer influencers retweet unfollow gif screenshare repost reposts reposted reposting "
    "ebook ebooks DVD USB USBs LCD LEDs OLED SSD SSDs HDD VPNs CSS JSON YAML SQLite iOS Unix fullstack "
    "middleware async refactor rebase GitLab Bitbucket Kubernetes NumPy PyTorch TensorFlow Matlab tooltip "
    "checkboxes kanban standups onboarding offboarding hackathon hackathons offsite offsites deliverable "
    "deliverables webinars chatbot chatbots deepfake deepfakes ransomware captchas signups autocorrected "
    "autocorrects autofill cryptocurrencies Dogecoin NFT NFTs metaverse freemium SaaS paywalls smartwatches "
    "powerbank ringtones voicemails doomscrolling "
    # Said by their letters, and cut short.
    "ADHD OCD IBS STD HIV COPD MRIs CNN LAPD IMF OPEC CFO CTO CIO PhDs MBAs GPAs SATs GRE LSAT MCAT USD GBP "
    "DIY FAQ FAQs TBA BIPOC EVs RVs ATV ATVs atm ATMs ACL GOP IMAX TVs DVR HDR MMO PvP PvE DnD fomo yolo "
    "iykyk bff bffs bf gf bfs gfs bday bdays vid vids vax vaxx vaxxed vaxxer vaxxers antivax mins hrs yrs "
    "kgs appt appts misc prob comp convos rec recs merch bio "
    # At home, in the kitchen, at the doctor's.
    "lockdowns staycation staycations coworking wfh telehealth telemedicine airfryer airfryers crockpot "
    "crockpots instapot flexitarian pescatarian kombucha matcha boba pho tzatziki quesadillas empanadas "
    "macchiato frappuccino frappuccinos mojito mojitos prosecco acai chia edamame nigiri bibimbap bulgogi "
    "naan paneer tikka biryani dosa ghee carb carbs carbing probiotic probiotics HIIT Peloton deadlift "
    "deadlifts burpee burpees tshirt tshirts onesie onesies microblading balayage pedi kindergartner fiance "
    "fiances grandkid grandbaby pupper puppers labradoodle townhome townhomes flatmate flatmates rideshare "
    "rideshares Aleve Claritin Lexapro Ozempic doula "
    "aubergine aubergines baptised chickpea chickpeas colander courgette courgettes dumbbell dumbbells easel "
    "grouting headteacher letterbox pushchair rucksack spanner stethoscope wellies Eid Holi Fanta Marmite "
    "Pringles Vegemite Woolworths Morrisons Nandos Bunnings Xhosa Athlone Ikeja Indore "
    # Said among friends.
    "yeet yeeted bae baes fam famo simp simps simping sus litty deadass periodt thicc mansplain "
    "mansplaining boujee bougie finsta finstas adulting hangry glamping humblebrag mocktail mocktails "
    "bromance frenemy frenemies sexting catfished catfishing fangirl fangirling clapback tbt adorbs "
    "amazeballs hella yass yas welp oopsie whoopsie hafta oughta shoulda coulda woulda musta mighta hunny "
    "ily yaar wahala abeg hehe lolz rofl rotfl omw "
    # Names that other names or words are one letter away from.
    "Ayden Brayden Kayden Luca Matteo Jaxon Jaxson Eamon Niamh Siobhan Aoife Saoirse Caoimhe Kaylee Skyler "
    "Jen Kimmy Kev Steph Zack Nico Joelle Ximena Daniela Khadija Zainab Bilal Kavya Neha Shreya Sneha Amit "
    "Xin Hao Ying Yan Guo Minh Linh Anh Hoang Pham Yoon Haruto Naoko Kwame Chidi Ngozi Chioma Emeka Tunde "
    "Femi Oksana Piotr Marek Jakub Katarzyna Agnieszka Malgorzata Bjorn Anneliese Alessandra Chiara Giulia "
    "Gianna Rana Hana Deshawn Shaniqua Sunita Dre Weeknd Eilish Lizzo Timothee Chalamet "
    # What people use and where they buy it, once more.
    "Duolingo Wordle Deliveroo Vinted Depop Poshmark Gumtree Zepto Swiggy Zomato Flipkart Paytm "
    "PhonePe Gojek Shopee Lazada Grammarly Substack Letterboxd Roomba Nespresso Thermomix Superdrug "
    "Myntra Rapido Splitwise Cloudflare GPay Revolut Monzo Klarna Ryanair EasyJet Wizzair Eurostar "
    "FlixBus Trainline Citymapper Hostelworld Skyscanner Midjourney Bluesky CapCut BeReal Strava "
    "Oura Hyrox SharePoint Wotsits Ribena Maccas ChatGPTs Ubered Ubering Venmoed parkrun "
    # Computers, games and work.
    "aircon timesheet timesheets mutex mutexes dataclass dataclasses homescreen homescreens zsh "
    "pydantic memoize memoized memoization kubectl useEffect useState pytest dockerfile kwargs "
    "webhook webhooks serverless struct structs Redis Grafana Datadog docx CRM KPI KPIs OKR OKRs OTP "
    "OTPs LLM LLMs GPT AGI RTX dashcam esim esims hotdesk hotdesking groupchat groupchats lvl "
    "AoE roguelike roguelikes metroidvania gacha speedrun speedruns respec Genshin Elden Steamdeck "
    "deload dropoff screenshotting "
    # At home, in the kitchen, at the doctor's, once more.
    "ebike ebikes escooter escooters wifey wifeys stepmum stepmums cockapoo cockapoos repot repotted "
    "repotting pothos photobooth photobooths pram prams creche babygro babygros pickleball padel "
    "kettlebell kettlebells glute glutes moisturiser moisturisers niacinamide statin statins "
    "tachycardic IVF NICU metformin omeprazole sertraline perimenopause semaglutide Wegovy Mounjaro "
    "UTI UTIs HRT CPTSD neurodivergent neurodiverse microaggression microaggressions playdate "
    "playdates binky idli idlis dosas arepa arepas ackee braai braais biltong roti rotis jamun halwa "
    "poha bao baos banh gochujang tteokbokki shakshuka burrata ciabatta cortado cortados oatmilk "
    "malatang kefir mochi harissa zaatar udon gyoza gyozas katsu yakitori okonomiyaki karaage kimbap "
    "laksa rendang nasi goreng adobo sinigang lumpia pancit jollof fufu egusi suya injera tagine "
    "mezze halloumi labneh babka pierogi pierogis churro churros pupusas elote elotes birria "
    "carnitas ceviche chimichurri passionfruit "
    # Said among friends, here and there.
    "arvo arvos brekkie bikkie bikkies mozzie mozzies sunnies trackies tradie tradies bogan bogans "
    "esky biccy biccies bants preggers hols chav chavs numpty bellend minging mardy faff "
    "faffed wagwan mandem roadman bossman wasteman didnae dinnae wasnae shiok paiseh tata "
    "haan rizz skibidi gyatt delulu bussin nocap situationship situationships ick icks girlboss "
    "pookie goated ghosted lovebombing breadcrumbing jetlagged mumma IBAN contactless HELOC "
    "ETF ETFs "
    # Names, once more.
    "Mbappe Haaland Saka Odegaard Seoyeon Femke Emre Zaynab Canggu Ananya Vihaan Diya Aditi Venkat "
    "Ayse Noor Adaeze Temi Tolu Lerato Thabo Sipho Nomsa Zanele Xolani Thandiwe Minji Jisoo "
    "Jihoon Seojun Xiaoming Trang Thao Huong Rizky Agus".split()
)
"""As they are written: words, brands and first names that a person typed into the keyboard of 2026-11-28 and
found missing, or into that of 2026-11-29."""

CAPITALS = frozenset(
    # Makers, shops, programs and what is watched and played.
    "iCloud MacBook AirPods Airbnb AirPlay Adderall Alibaba Alienware Aldi Allianz Applebees AppStore "
    "Arduino Asahi Atlassian Bandcamp Barclays BestBuy BitTorrent BlackRock Bloodborne Bloomberg Botox "
    "Broadcom Bungie Cadbury Capcom Cheetos Chipotle Cineworld Coinbase Deloitte Digg Disneyworld Drupal "
    "Dyson Fitbit GeForce GoFundMe GoPro Goodreads Hotmail HuffPost Imgur Invictus Joomla Kinect Kodi "
    "Kotaku Legoland Lidl LimeWire Lionsgate Lloyds Lumia Mahindra Maruti Maserati McMuffin McNuggets "
    "Mockingjay MongoDB MySQL MythBusters Netgear Nutella Nvidia OkCupid OnePlus OpenSSL Oreos Patreon "
    "PowerShell PubMed Reddit Redbox Roblox Runescape Safeco Sainsbury Sephora Skynet Snapchats SpongeBob "
    "Squarepants Squidward StubHub Swarovski Tekken Tesco Topshop Twinkies Ubisoft Valium Viagra "
    "Walgreens Waymo Wacom Westeros Westgate WikiHow Wizkid Wolfenstein WrestleMania Xiaomi Xperia "
    "Xfinity Ziploc Zamboni Cartman Gundam Muggle Pikachu Sasuke Sauron "
    # Teams, leagues and people of whom news tell.
    "Agassi Aguero Assange Balotelli Benzema Bundesliga Cersei Corbyn Coutinho Drogba Erdogan Falcao "
    "Farage Feinstein Ferreira Franken Galatasaray Guardiola Ibrahimovic Iniesta Juventus Kavanaugh Klopp "
    "Kohli Lampard Lesnar Lukaku Manafort Mayweather Messi Miliband Netanyahu Neymar Obamacare Pacquiao "
    "Pelosi PewDiePie Pogba Pompeo Scalia Sociedad Spieth Sturridge Tyrion Vettel Wilshere Zidane Zlatan "
    "Giuliani Clegg Giroud "
    # Places, peoples and feasts.
    "Abuja Andhra Armagh Baloch Balochistan Bengaluru Brexit Brixton Brockton Broward Cebu Cincy Chennai "
    "Chengdu Clapham Coruscant Darfur Denali Diwali Filipina Glamorgan Guangdong Gurgaon Hamas Hongkong "
    "Incheon Jeddah Kathmandu Kharkiv Kyiv Lothian Mesopotamia Middlesbrough Mughal Mykonos Nadu "
    "Naperville Otago Phuket Pune Pyeongchang Qatari Rohingya Sedona Shenzhen Sindh Telangana Tiananmen "
    "Yangon Zhejiang Zika "
    # People, faiths and peoples.
    "Abhijit Amin Amir Anant Barca DeNiro Dvorak Kimi Luiz Narendra Presbyterian Rajesh Ramya Thorne "
    # Said by their letters, and what else.
    "UEFA UKIP NCIS PSN ISIL HMRC NYU NYPD UNHCR UBS YPG BJP POTUS Gmail Xerox Greggs Cairns Kano "
    "Kochi API APIs URL URLs OS OSes Amazon Easter Hindi".split()
)
"""What the lists have in small letters, or not as it is written."""

SMALL = frozenset(
    "afaik blindspot blindspots bros cardi cardis cba collie collies darlin dependant dependants eco fez "
    "gamechanger gamechangers hickey hickeys lil muppet muppets oww parmesan pitbull pitbulls prez rollin "
    "singin spectre sunbeam sunbeams uni".split()
)
"""Words that the lists have as names alone."""

CURRENT_SHARE = 2e-6
"""Of running words, what each of them has at least among wordfreq's, as the 20,000th word of these has."""

MISSPELT = frozenset(
    """absorbant accelleration accidently afterall ais ait alladin annakin ans anu ara arg asum aust ballance
    becoz beggining beiber belicheck belichek bellichick bes billon bizzare bk boals brach bradys brom buc
    bute byee cakeday calender caribean carreers carribean casette cheeper chewbaca chim cincinatti
    clammer colum comme commiters conquerer consol corse costed cotten crono cte cugat dalmations
    dankmemes daos definatly definently definetly delate dependance dependancies dependancy di diaster
    dissapoint dissapointed dissapointing dit doesent dois dor dosent dp dy eduction ell eman enon
    equipments ermahgerd eventhough exactally farve favirote ferrel finnaly firs fotos fou frei fromm frou
    fuckkkkk gat gdt ger gere get's gid glamourous gnt goodmorning gr guiness haas hae hannukah harddisk
    harddrive hass hat's haves havnt heathy heb heder hel hep hermoine heros herr hie hight hin hos hts
    icecream id's idealogy if's iit ina inbetween indepth infact ing intension issus iwo jaba jame jas jer
    jers jia johny jor jurrasic jut ka kapernick kayne knacks knowledgable kor kord kt lacker lande lefts
    leveon lire lis lockerroom loll longe losh lot's lucked lus magics mani mes metalica metics micheal
    millenial millenials millenium mim miniscule minium moff monstah moro morrisette mut nacc napolean nd
    ne nears neh neral nevers newyork noe now's noway offtopic oke om ope orginial orly pallette
    partioning partions patt payed pervious phl pis pittsburg precess prevelant probly proffesional
    publically qi quartback raggae rascall rasing reccomend reffering repartion rhianna runningback rythem
    sab sargeant sargent say's sequals sher shere sherif shib shitballs shitbird shitlord si sicked
    skelton sn snd som sou soze sp stroy sugan superheros supervillian supervillians surprize suspensful
    tary te te's tej terk tet thant thar therm thess ti tieing tims tl tommorow trolly tu tull tuscon tye
    uf univesity unnessecary useability ut uten vadar vas ven vert vord vy wann waring wasent ween weill
    wellcome wendesday wether wheen whish wit's withe withing witt wonderwoman wouldent wr wrs xe xt yare
    yeahs yev yow zepplin zoen""".split()
)
"""No words, though lists or the server's text have them: what codespell lists as misspelt, lexicon or
dictionary of 2026-11-28 had, and is no word of its own; misspelt names; and what is so rare that whoever
types it means another (colum for column, tye for the): of words of few letters, a slip away from one that is
a thousand times as frequent, those that are nobody's daily word."""
